"""Weights alone: what is stored, what is refused, and the weights that facekp ships."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import Toy
from safetensors.torch import load_file

from facekp import FaceParser, evaluate
from facekp.data.layout import read_index
from facekp.data.normalisation import normalise
from facekp.data.synthetic.write import draw_face
from facekp.data.transforms import evaluation_transform
from facekp.errors import CheckpointError, ConfigError, DataError
from facekp.export import __main__ as export
from facekp.export import release
from facekp.images import read_image, read_label
from facekp.models import build_model, fuse
from facekp.models.registry import NETWORKS
from facekp.parsing.backends import TorchBackend, open_backend
from facekp.weights.checkpoint import describe, read_checkpoint, read_weights, write_weights
from facekp.weights.load import average_with, load_network
from facekp.weights.paths import WEIGHTS, locate_checkpoint

# Of the weights that are shipped now.
SHA256 = "e7619602aced53e0195bd635cbe1ce0bce80258c4d90bd708644ec2c3709b7dd"
MIOU_OF_20 = 0.7570  # by `facekp evaluate` on these faces alone
DRAWN = Path(__file__).parent / "shipped_mask.png"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Write a network of random weights, and return where, and the network."""
    torch.manual_seed(1)
    net = build_model("resnet18").train()
    net(torch.rand(2, 3, 64, 64))  # batch-norm's statistics are no longer 0 and 1
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    write_weights(net, describe({"name": "resnet18"}, 64) | {"note": "kept"}, path)
    return path, net.eval()


class TestWritten:
    def test_matrices_are_rounded_to_float16_and_all_else_is_exact(self, pair):
        path, net = pair
        weights, about = read_weights(path)
        assert about["note"] == "kept"
        assert weights.keys() == net.state_dict().keys()
        for name, tensor in net.state_dict().items():
            wanted = tensor.half().float() if tensor.ndim > 1 else tensor
            assert torch.equal(weights[name], wanted), name
            assert weights[name].dtype == tensor.dtype
        matrices = [tensor for tensor in load_file(path).values() if tensor.ndim > 1]
        assert {tensor.dtype for tensor in matrices} == {torch.float16}
        assert path.stat().st_size < 25_000_000

    def test_the_network_gives_nearly_the_same_scores(self, pair):
        path, net = pair
        stored, _ = load_network(path)
        assert open_backend(path).size == 64
        assert not stored.training
        images = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            for got, want in zip(stored(images).maps, net(images).maps, strict=True):
                assert (got - want).abs().max() < 0.01 * want.abs().max()


class TestRefused:
    def copy(self, pair, folder):
        for suffix in (".safetensors", ".json"):
            (folder / f"net{suffix}").write_bytes(pair[0].with_suffix(suffix).read_bytes())
        return folder / "net.safetensors"

    @pytest.mark.parametrize(
        ("suffix", "content", "message"),
        [
            (".json", None, r"net\.json': no such file; `facekp release`"),
            (".safetensors", None, r"net\.safetensors': no such file; `facekp release`"),
            (".safetensors", "trunc", r"net\.safetensors': it or its .json cannot be read"),
            (".json", "{", r"net\.safetensors': it or its .json cannot be read"),
            (".json", "[]", r"net\.json': facekp did not write it"),
            (".json", '{"format": 1}', r"net\.safetensors': does not state its size or network"),
            (".json", '{"format": 1, "size": 64}', r"net\.safetensors': does not state its size or network"),
            (".json", {"format": 0}, r"net\.safetensors': its format is 0, this version reads 1"),
            (".json", {"model": {"name": "bisenet"}}, "do not fit this version's networks"),
        ],
    )
    def test_another_file(self, pair, tmp_path, suffix, content, message):
        path = self.copy(pair, tmp_path)
        changed = path.with_suffix(suffix)
        if content is None:
            changed.unlink()
        elif isinstance(content, dict):
            changed.write_text(json.dumps(json.loads(changed.read_text()) | content))
        else:
            changed.write_text(str(content))
        with pytest.raises(CheckpointError, match=message):
            load_network(path)

    def test_weights_that_another_file_describes(self, pair, tmp_path):
        path = self.copy(pair, tmp_path)
        torch.manual_seed(2)
        write_weights(build_model("resnet18"), describe({"name": "resnet18"}, 64), tmp_path / "other.safetensors")
        path.write_bytes((tmp_path / "other.safetensors").read_bytes())
        with pytest.raises(CheckpointError, match="not the weights that its"):
            load_network(path)


def test_averages_count_a_checkpoint_as_often_as_it_is_named(tmp_path):
    NETWORKS.register("toy")(Toy)
    for number in (1, 2, 4):
        net = build_model("toy")
        net.load_state_dict({name: torch.full_like(tensor, number) for name, tensor in net.state_dict().items()})
        write_weights(net, describe({"name": "toy"}, 64), tmp_path / f"{number}.safetensors")
    one, two, four = (tmp_path / f"{number}.safetensors" for number in (1, 2, 4))
    net, _ = load_network(one)
    average_with(net, [two, four, four])
    for name, tensor in net.state_dict().items():
        assert (tensor == torch.tensor(11 / 4).to(tensor.dtype)).all(), name
    with pytest.raises(ConfigError, match="average has 'shipped', which is of another network than ckpt: leave it out"):
        average_with(net, ["shipped"])


@pytest.fixture(scope="module")
def released(straight, tiny_root, tmp_path_factory):
    """Release the checkpoint of a short run by the command."""
    out = tmp_path_factory.mktemp("release") / "new" / "net.safetensors"
    where = [f"ckpt={straight / 'checkpoints' / 'best.ckpt'}", f"out={out}", f"data.root={tiny_root}"]
    release.main([*where, "terms=for this test", "dataset=drawn blobs", "size=96", "device=cpu", "data.workers=0"])
    return out


@pytest.mark.slow
class TestRelease:
    def test_its_scores_are_those_of_what_is_stored(self, released, tiny_root, tmp_path):
        about = json.loads(released.with_suffix(".json").read_text())
        assert about["scores"] | {"split": "val", "images": 3, "size": 96} == about["scores"]
        found = tmp_path / "metrics.json"
        evaluate.main([f"ckpt={released}", f"data.root={tiny_root}", "data.workers=0", "device=cpu", f"out={found}"])
        scores = json.loads(found.read_text())
        assert {name: about["scores"][name] for name in scores} == scores

    def test_says_how_it_was_trained_and_not_where(self, released, straight, tiny_root):
        text = released.with_suffix(".json").read_text()
        about = json.loads(text)
        assert (about["terms"], about["dataset"]) == ("for this test", "drawn blobs")
        assert about["trained"]["steps"] == read_checkpoint(straight / "checkpoints" / "best.ckpt")["global_step"]
        assert about["trained"]["settings"]["optim.head_lr_mult"] == 2.0
        assert about["trained"]["settings"]["trainer.max_steps"] == 8
        for place in (tiny_root, straight, Path.home()):
            assert str(place) not in text

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("split=foo", "split is 'foo': choose one of"),
            ("out=net.ckpt", "out is 'net.ckpt': give a path that ends in .safetensors"),
            ("offsets=-1", "offsets is -1: give at least 0"),
        ],
    )
    def test_a_mistake_is_a_line(self, argument, message):
        with pytest.raises(ConfigError, match=message):
            release.main(["ckpt=x.ckpt", "out=x.safetensors", argument])

    def test_offsets_need_training_images(self, straight, tiny_root, tmp_path):
        faces = tmp_path / "faces"
        shutil.copytree(tiny_root, faces)
        text = (faces / "index.csv").read_text().replace(",train", ",test")
        (faces / "index.csv").write_text(text)
        ckpt, out = straight / "checkpoints" / "best.ckpt", tmp_path / "x.safetensors"
        where = [f"ckpt={ckpt}", f"out={out}", f"data.root={faces}", "data.workers=0", "device=cpu"]
        with pytest.raises(DataError, match=r"whose index\.csv has no 'train' image"):
            release.main([*where, "offsets=4"])
        assert not out.exists()


def test_shipped_is_a_name():
    assert locate_checkpoint("shipped") == WEIGHTS
    with pytest.raises(CheckpointError, match="checkpoint 'shipped': no such file"):
        load_network("./shipped")  # a file of that name


class TestShipped:
    """The weights in the package: their size, that they are the ones described, and what they reach."""

    def test_size_and_description(self):
        assert WEIGHTS.stat().st_size <= 16_000_000
        about = json.loads(WEIGHTS.with_suffix(".json").read_text())
        assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == about["sha256"] == SHA256
        assert "non-commercial research" in about["terms"]
        assert "non-commercial research" in WEIGHTS.with_name("TERMS.md").read_text()
        assert about["scores"]["images"] == 500

    @pytest.mark.slow
    def test_scores_on_real_faces(self, real_root):
        """Validation faces that show each class at least three times, every pixel counted by hand."""
        net, about = load_network("shipped")
        size = about["size"]
        counts = np.zeros((19, 19), np.int64)
        for sample in read_index(real_root)["val"][344:404:3]:
            out = evaluation_transform(size)(image=read_image(sample.image), mask=read_label(sample.label))
            with torch.inference_mode():
                scores = net(normalise(torch.from_numpy(out["image"])[None])).predict
            predicted = fuse(scores, (size, size)).argmax(1)[0].numpy()
            np.add.at(counts, (out["mask"], predicted), 1)
        union = counts.sum(0) + counts.sum(1) - counts.diagonal()
        assert (counts.diagonal() / union).mean() == pytest.approx(MIOU_OF_20, abs=0.002)

    def test_mask_of_a_drawn_face(self):
        """The mask that these weights gave when they were released; in float32, as every processor has it."""
        net, about = load_network("shipped")
        backend = TorchBackend(net, about["size"], torch.device("cpu"), "float32")
        (face,) = FaceParser(backend)(draw_face(3, 256).image, align="none")
        then = read_label(DRAWN)
        assert face.mask.shape == then.shape
        assert (face.mask == then).mean() > 0.995
        assert len(np.unique(then)) >= 6

    def test_help_says_the_terms(self, capsys):
        for command in (evaluate, export):
            with pytest.raises(SystemExit):
                command.main(["--help"])
            assert "non-commercial research and" in capsys.readouterr().out

    @pytest.mark.slow
    def test_is_what_is_taken_without_a_checkpoint(self):
        parser, named = FaceParser(), FaceParser.from_checkpoint("shipped")
        image = draw_face(3, 128).image
        assert np.array_equal(parser(image, align="none")[0].mask, named(image, align="none")[0].mask)

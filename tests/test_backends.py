"""Torch, onnxruntime and OpenVINO give the scores of the plain network."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PORTRAIT
from helpers.networks import Toy

from facekp import FaceParser
from facekp.classes import CELEBAMASK_HQ
from facekp.data.layout import read_index
from facekp.data.normalisation import normalise
from facekp.data.synthetic.write import draw_face
from facekp.errors import CheckpointError, ConfigError
from facekp.export.__main__ import ExportSettings
from facekp.export.onnx import calibration_images, export_onnx, quantise
from facekp.images import read_image, resize
from facekp.models import Heads, build_model, fuse
from facekp.models.registry import NETWORKS
from facekp.parsing.backends import ABOUT, FileBackend, TorchBackend, describe_export, open_backend
from facekp.parsing.score_net import ScoreNet, fold_batch_norm
from facekp.parsing.tta import Flip, flipped
from facekp.weights.load import load_network
from facekp.weights.paths import WEIGHTS

SHAPE = (2, 96, 64)  # neither the size nor the batch that the file is made with


def trained_like(name, **settings):
    """A network whose batch-norms have seen data, so that folding them changes something."""
    torch.manual_seed(0)
    net = build_model(name, **settings)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
            torch.nn.init.uniform_(layer.weight, 0.5, 1)
    return net.eval()


def plain(net, images):
    """The network as training runs it."""
    batch = normalise(torch.from_numpy(np.stack(images)))
    with torch.inference_mode():
        return [scores.permute(0, 2, 3, 1).numpy() for scores in net(batch).predict]


def pictures(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def on_cpu(net, size=64, precision="float32"):
    return TorchBackend(net, size, torch.device("cpu"), precision)


def assert_close(got, want, share):
    assert [g.shape for g in got] == [w.shape for w in want]
    for g, w in zip(got, want, strict=True):
        assert g.dtype == np.float32
        np.testing.assert_allclose(g, w, atol=share * np.abs(w).max())


@pytest.mark.slow
def test_exported_labels_are_those_of_the_parser(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime, openvino = pytest.importorskip("onnxruntime"), pytest.importorskip("openvino")
    NETWORKS.register("toy")(Toy)
    net, path = trained_like("toy"), tmp_path / "labels.onnx"
    export_onnx(net, 64, path, head="labels")
    session = onnxruntime.InferenceSession(str(path))
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # where the processor has bf16, OpenVINO would compute in it
    compiled = openvino.Core().compile_model(path, "CPU", exact)
    faces = [draw_face(seed, 96).image for seed in range(20)]
    for size, side, drawn in ((128, (128, 128), faces), (160, (160, 96), faces[:2])):  # others than the file's size
        images = [resize(face, side) for face in drawn]
        parser = FaceParser(TorchBackend(net, size, torch.device("cpu"), "float32"))
        want = np.stack([face.mask for face in parser(images, align="none")])
        assert len(np.unique(want)) >= 5
        for labels in (session.run(None, {"images": np.stack(images)})[0], compiled([np.stack(images)])[0]):
            assert (labels.dtype, labels.shape) == (np.uint8, want.shape)
            assert np.mean(labels == want) > 0.999
    with pytest.raises(CheckpointError, match="returns labels, not scores; export it with head=scores"):
        open_backend(path)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Return the file of the shipped weights."""
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    path = tmp_path_factory.mktemp("shipped") / "net.onnx"
    export_onnx(load_network(WEIGHTS)[0], 512, path)
    return path


# Those left come before their convolution (pre-activation), or after a linear layer.
@pytest.mark.parametrize(
    ("name", "settings", "left"),
    [
        ("resnet18", {}, 0),
        pytest.param("residual_attention", {}, 74, marks=pytest.mark.slow),
        ("bisenet", {}, 0),
        ("fpn", {}, 0),
        pytest.param("fpn", {"trunk": "tf_efficientnet_lite0", "finest": 4}, 0, marks=pytest.mark.slow),
    ],
)
def test_folding_batch_norm_changes_no_score(name, settings, left):
    net = trained_like(name, **settings)
    folded = ScoreNet(net).net
    called = {node.target for node in folded.graph.nodes}
    layers = [layer for name, layer in folded.named_modules() if name in called]
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in layers) == left
    assert_close(on_cpu(net)(pictures()), plain(net, pictures()), 1e-4)


class Shared(torch.nn.Module):
    """A head that is called at two levels, as RetinaNet's is."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)

    def forward(self, images):
        return self.norm(self.conv(images)), self.norm(self.conv(images[:, :, ::2, ::2]))


class Curious(Shared):
    """One that asks its input how many images it has."""

    def forward(self, images):
        return [self.norm(self.conv(images[i : i + 1])) for i in range(len(images))]


@pytest.mark.parametrize("kind", [Shared, Curious])
def test_a_network_that_cannot_be_folded_is_copied(kind):
    net, images = kind(), torch.rand(2, 3, 16, 16)
    torch.nn.init.uniform_(net.norm.running_var, 0.2, 0.4)
    net.eval()
    for got, want in zip(fold_batch_norm(net)(images), net(images), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.slow
def test_real_faces_have_the_plain_networks_masks(real_root, shipped):
    """Folded, exported, and never upsampled: the argmax of the plain network's sum, on the shipped weights."""
    net, _ = load_network("shipped")
    parsers = [FaceParser(runner) for runner in (on_cpu(net, 512), open_backend(shipped, backend="onnx"))]
    for sample in read_index(real_root)["val"][:2]:
        image = resize(read_image(sample.image), (512, 512))
        with torch.inference_mode():
            scores = net(normalise(torch.from_numpy(image)[None])).predict
        want = fuse(scores, (512, 512)).argmax(1)[0].numpy()
        assert len(np.unique(want)) >= 5
        for parser in parsers:
            assert np.mean(parser(image, align="none")[0].mask == want) >= 0.999


@pytest.mark.slow
def test_networks_that_check_their_input_predict_too():
    pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
    net = build_model("smp").eval()
    got = on_cpu(net)(pictures())
    assert_close(got, plain(net, pictures()), 1e-4)
    (face,) = FaceParser(on_cpu(net, 96))(pictures()[0], align="none")
    assert np.mean(face.mask == got[0][0].argmax(2)) > 0.999


def test_bfloat16_is_near_and_leaves_the_network_as_it_was():
    net = trained_like("resnet18")
    want = plain(net, pictures())
    got = on_cpu(net.train(), precision="bfloat16")(pictures())
    assert net.training
    assert_close(got, want, 0.05)
    assert all(not np.allclose(g, w, rtol=1e-4) for g, w in zip(got, want, strict=True))
    for after, before in zip(plain(net.eval(), pictures()), want, strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_torch_runs_in_a_forked_process_after_it_has_used_several_threads():
    torch.set_num_threads(2)
    assert add_ones() == 1 << 20
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(add_ones).get(timeout=60) == 1 << 20  # or it waits for ever


def add_ones():
    """In parallel, for so many."""
    return torch.ones(1 << 20).sum().item()


class Opened(FileBackend):
    """A runtime whose scores are the number of times that it was opened."""

    def __init__(self, path):
        self.times = 0
        super().__init__(path)

    def _open(self, path):
        assert path.is_file()
        self.times += 1
        return lambda images, times=self.times: [times], json.dumps(describe_export(64))


def test_a_file_is_opened_again_in_each_other_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").touch()
    runner = Opened(Path("net.onnx"))
    assert [runner(None), runner(None)] == [[1], [1]]
    sent = pickle.dumps(FaceParser(runner, detector="haar"))
    monkeypatch.chdir("/")  # another process may run in another folder
    copy = pickle.loads(sent).stages.backend
    assert (copy(None), copy.size, copy.times) == ([1], 64, 1)
    monkeypatch.setattr(os, "getpid", lambda: 0)  # as after a fork
    assert [runner(None), runner(None)] == [[2], [2]]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_prediction_from_a_file_imports_no_torch(shipped, backend, tmp_path):
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    code = (
        "import sys; from facekp.predict.__main__ import main; main(sys.argv[1:]); "
        "print([name for name in ('torch', 'safetensors') if name in sys.modules])"
    )
    arguments = [PORTRAIT, tmp_path, f"ckpt={shipped}", f"backend={backend}", "tta=flip"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_an_exported_network_gives_torchs_scores_and_mask_at_another_size_and_batch(shipped, backend):
    pytest.importorskip({"auto": "onnxruntime"}.get(backend, backend))
    net, runner = load_network(WEIGHTS)[0], open_backend(shipped, backend=backend)
    assert runner.size == 512
    # OpenVINO computes in bfloat16 where the processor has it.
    assert_close(runner(pictures()), plain(net, pictures()), 1e-4 if backend == "auto" else 0.05)
    for again, first in zip(pickle.loads(pickle.dumps(runner))(pictures()), runner(pictures()), strict=True):
        np.testing.assert_array_equal(again, first)
    if backend == "auto":
        parsers = FaceParser.from_checkpoint(shipped), FaceParser(on_cpu(net, 512))
        (face,), (want,) = (parser(pictures()[0], align="none") for parser in parsers)
        assert np.mean(face.mask == want.mask) > 0.999


@pytest.mark.slow
def test_int8_of_the_shipped_weights_gives_the_mask_of_float32(shipped, tmp_path):
    # Calibrated on two pictures. On 48 validation faces, 8-bit weights and depthwise convolutions in int8 cost up to 4
    # points of mIoU on a processor without VNNI; here they fail too.
    portrait = resize(read_image(PORTRAIT)[19:192, 139:312], (512, 512))
    quantise(shipped, tmp_path / "int8.onnx", [portrait, portrait[:, ::-1]])
    # A quarter, and what stays in float32.
    assert (tmp_path / "int8.onnx").stat().st_size < 0.35 * shipped.stat().st_size
    for backend in ("onnx", "openvino"):
        pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
        got, want = (
            FaceParser(open_backend(path, backend=backend))(portrait, align="none")[0].mask
            for path in (tmp_path / "int8.onnx", shipped)
        )
        assert (got == want).mean() > 0.99, backend


def test_calibration_images_are_spread_over_the_training_set(tiny_root):
    config = replace(ExportSettings(ckpt="x").data, root=str(tiny_root)).at_size(64)
    images = list(calibration_images(config, 3))
    assert len(images) == 3
    assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in images)


@pytest.mark.slow
def test_files_that_do_not_fit_are_named(shipped, tmp_path):
    import onnx

    with pytest.raises(CheckpointError, match="no such file"):
        open_backend(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    model = onnx.load(shipped)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    for backend in ("onnx", "openvino"):
        for name in ("text.onnx", "foreign.onnx"):
            with pytest.raises(CheckpointError, match=f"{name}': not an ONNX file exported by facekp"):
                open_backend(tmp_path / name, backend=backend)
    onnx.helper.set_model_props(model, {ABOUT: json.dumps(describe_export(64) | {"format": 0})})
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(CheckpointError, match="another version of facekp"):
        open_backend(tmp_path / "old.onnx")


def test_backends_that_do_not_fit_are_named():
    path = "net.onnx"  # never opened
    for kwargs, message in (
        ({"path": path, "backend": "torch"}, "backend is 'torch', which cannot run .*use backend=onnx"),
        ({"path": "best.ckpt", "backend": "onnx"}, r"export it to ONNX with `facekp export ckpt=best"),
        ({"path": path, "device": "cuda"}, "device is 'cuda', but backend=onnx runs on the CPU"),
        ({"path": path, "backend": "tflite"}, "backend is 'tflite': choose one of auto, torch, onnx, openvino"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_backend(**kwargs)


class TestFlip:
    """Test-time augmentation by hand: scores that depend on the column and the class."""

    @staticmethod
    def run(images):
        """Return one score map at the images' own resolution: the red channel for l_eye, the green one for r_eye."""
        scores = np.zeros((*images.shape[:3], 19), np.float32)
        scores[..., 4], scores[..., 5] = images[..., 0], images[..., 1]
        return [scores]

    def test_left_and_right_are_swapped_back(self):
        images = np.zeros((1, 1, 2, 3), np.uint8)
        images[0, 0, :, 0] = 10, 20  # l_eye
        images[0, 0, :, 1] = 50, 90  # r_eye
        backend = SimpleNamespace(size=64, batch=3, streams=2, classes=CELEBAMASK_HQ)
        flip = Flip(backend)
        assert (flip.size, flip.batch, flip.streams) == (64, 3, 2)
        flip.backend = self.run
        # The mirror image's r_eye is l_eye: (10 + 50) / 2 at column 0, (20 + 90) / 2 at column 1.
        (scores,) = flip(images)
        assert scores.dtype == np.float32
        assert scores[0, 0, :, 4].tolist() == scores[0, 0, :, 5].tolist() == [30, 55]
        assert not scores[..., [0, 3, 6]].any()

        def heads(pixels):
            return Heads(tuple(torch.from_numpy(s).permute(0, 3, 1, 2) for s in self.run(pixels.numpy())))

        (again,) = flipped(heads, CELEBAMASK_HQ)(torch.from_numpy(images)).predict
        assert torch.equal(again.permute(0, 2, 3, 1), torch.from_numpy(scores))

    def test_a_parser_takes_it_and_names_the_choices(self):
        backend = TorchBackend(build_model("fpn"), 64, torch.device("cpu"))
        assert isinstance(FaceParser(backend, tta="flip").stages.backend, Flip)
        with pytest.raises(ConfigError, match="tta is 'mirror': choose one of none, flip"):
            FaceParser(backend, tta="mirror")

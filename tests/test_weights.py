"""Weights alone: what is stored, what is refused, and the weights that facekp ships."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facekp.backends import TorchBackend, open_backend
from facekp.checkpoint import describe
from facekp.errors import CheckpointError
from facekp.models import build_model
from facekp.weights import WEIGHTS, load_network, locate, read_weights, write_weights


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """Write a network of random weights, and return where, and the network."""
    torch.manual_seed(1)
    net = build_model("resnet18").train()
    net(torch.rand(2, 3, 64, 64))  # batch-norm's statistics are no longer 0 and 1
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    write_weights(net, describe({"name": "resnet18"}, 64) | {"note": "kept"}, path)
    return path, net.eval()


class TestWritten:
    def test_matrices_are_rounded_to_float16_and_all_else_is_exact(self, pair: tuple[Path, torch.nn.Module]) -> None:
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

    def test_the_network_gives_nearly_the_same_scores(self, pair: tuple[Path, torch.nn.Module]) -> None:
        path, net = pair
        stored, about = load_network(path)
        assert about["size"] == 64
        assert not stored.training
        images = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            for got, want in zip(stored(images), net(images), strict=True):
                assert (got - want).abs().max() < 0.01 * want.abs().max()

    def test_is_opened_as_a_checkpoint_is(self, pair: tuple[Path, torch.nn.Module]) -> None:
        backend = open_backend(pair[0])
        assert isinstance(backend, TorchBackend)
        assert backend.size == 64


class TestRefused:
    def copy(self, pair: tuple[Path, torch.nn.Module], folder: Path) -> Path:
        for suffix in (".safetensors", ".json"):
            (folder / f"net{suffix}").write_bytes(pair[0].with_suffix(suffix).read_bytes())
        return folder / "net.safetensors"

    @pytest.mark.parametrize("missing", [".json", ".safetensors"])
    def test_half_of_a_pair(self, pair: tuple[Path, torch.nn.Module], tmp_path: Path, missing: str) -> None:
        path = self.copy(pair, tmp_path)
        path.with_suffix(missing).unlink()
        with pytest.raises(CheckpointError, match=rf"net\{missing}': no such file; .*facekp.release"):
            load_network(path)

    def test_a_truncated_file(self, pair: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
        path = self.copy(pair, tmp_path)
        path.write_bytes(path.read_bytes()[:10_000])
        with pytest.raises(CheckpointError, match=r"net.safetensors': it or its .json cannot be read"):
            load_network(path)

    @pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}'])
    def test_another_description(self, pair: tuple[Path, torch.nn.Module], tmp_path: Path, text: str) -> None:
        path = self.copy(pair, tmp_path)
        path.with_suffix(".json").write_text(text)
        with pytest.raises(CheckpointError, match=r"net\.(safetensors|json)'"):
            load_network(path)

    def test_weights_of_another_network(self, pair: tuple[Path, torch.nn.Module], tmp_path: Path) -> None:
        path = self.copy(pair, tmp_path)
        about = json.loads(path.with_suffix(".json").read_text())
        path.with_suffix(".json").write_text(json.dumps(about | {"model": {"name": "bisenet"}}))
        with pytest.raises(CheckpointError, match="do not fit this version's networks"):
            load_network(path)


def test_shipped_is_a_name() -> None:
    assert locate("shipped") == locate(Path("shipped")) == WEIGHTS
    assert locate("./shipped").resolve() != WEIGHTS  # a file of that name

"""Checkpoints: plain data that says what prediction needs, and every file that is none."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facekp.classes import CELEBAMASK_HQ
from facekp.errors import CheckpointError, DataError
from facekp.models import build_model
from facekp.training.callbacks import BesideCheckpointIO
from facekp.weights.checkpoint import KEY, describe
from facekp.weights.load import load_network


@pytest.fixture
def checkpoint(straight):
    return straight / "checkpoints" / "last.ckpt"


class Payload:
    """Something that runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def edited(**changes):
    """Return what writes a checkpoint whose description is changed."""

    def write(source, out):
        content = torch.load(source, weights_only=True)
        content["facekp"] |= changes
        torch.save(content, out)

    return write


def laden(source, out):
    torch.save({**torch.load(source, weights_only=True), "extra": Payload(out.with_suffix(".ran"))}, out)


BAD_FILES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "missing": (lambda source, out: None, "no such file"),
    "folder": (lambda source, out: out.mkdir(), "no such file"),
    "empty": (lambda source, out: out.touch(), "not a checkpoint, or truncated"),
    "text": (lambda source, out: out.write_text("hello, I am no checkpoint\n" * 99), "checkpoint"),
    "truncated": (lambda source, out: out.write_bytes(source.read_bytes()[:-1000]), "not a checkpoint, or truncated"),
    # What torch's unpickler makes of these: struct.error, and IndexError.
    "cut pickle": (lambda source, out: out.write_bytes(b"\x80\x02X\x05"), "not a checkpoint, or truncated"),
    "hollow pickle": (lambda source, out: out.write_bytes(b"\x80\x02."), "not a checkpoint, or truncated"),
    "laden": (laden, "holds something other than plain data and tensors"),
    "plain pickle": (
        lambda source, out: out.write_bytes(pickle.dumps(Payload(out.with_suffix(".ran")))),
        "holds something other than plain data and tensors",
    ),
    "state dict": (lambda source, out: torch.save({"weight": torch.zeros(3)}, out), "facekp did not write it"),
    "foreign": (
        lambda source, out: torch.save({"state_dict": {}, "epoch": 3, "pytorch-lightning_version": "2.6.0"}, out),
        "facekp did not write it",
    ),
    "tensor": (lambda source, out: torch.save(torch.zeros(3), out), "facekp did not write it"),
    "later format": (edited(format=2), "its format is 2, this version reads 1"),
    "other classes": (edited(classes=["a", "b"]), "its classes: no table of ids"),
    "other normalisation": (edited(mean=[0.5, 0.5, 0.5]), "its mean is [0.5, 0.5, 0.5], this version reads [0.485"),
    "unknown network": (edited(model={"name": "resnet50"}), "do not fit this version's networks"),
    "import by name": (edited(model={"name": "resnet18", "_target_": "os.system"}), "do not fit this version's"),
    "other network": (
        lambda source, out: torch.save({**torch.load(source, weights_only=True), "state_dict": {}}, out),
        "do not fit this version's networks",
    ),
}


def test_it_is_plain_data_that_says_what_prediction_needs(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    assert content["facekp"] == {
        "format": 1,
        "model": {"name": "toy", "pretrained": False},
        "size": 64,
        "loss": {"name": "ohem", "threshold": 0.7, "min_kept": 0.0625},
        "classes": list(CELEBAMASK_HQ.names),
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }


def test_a_pretrained_network_is_rebuilt_without_fetching(tmp_path, monkeypatch):
    weights = {f"net.{name}": tensor for name, tensor in build_model("resnet18").state_dict().items()}
    about = describe({"name": "resnet18", "pretrained": "imagenet"}, 64)
    torch.save({KEY: about, "state_dict": weights}, tmp_path / "a.ckpt")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: pytest.fail("fetched"))
    load_network(tmp_path / "a.ckpt")


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_refused_in_one_line(checkpoint, tmp_path, kind):
    write, message = BAD_FILES[kind]
    path = tmp_path / "bad.ckpt"
    write(checkpoint, path)
    with pytest.raises(CheckpointError) as caught:
        load_network(path)
    text = str(caught.value)
    named = path / "model.safetensors" if kind == "folder" else path  # a folder is a model folder
    assert f"checkpoint '{named}': " in text
    assert message in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
    assert not path.with_suffix(".ran").exists()


def test_a_checkpoint_needs_no_other_file_system_and_replaces_the_last_one_only_when_it_is_whole(tmp_path, monkeypatch):
    path, files = tmp_path / "checkpoints" / "last.ckpt", BesideCheckpointIO()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    files.save_checkpoint({"step": 1}, path)

    def full(content, part):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DataError, match=r"last.ckpt': cannot be written \(No space left on device\); make room, or"):
        files.save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]

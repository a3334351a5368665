"""Safe reading and writing of checkpoints: plain data and tensors, never code.

Two kinds of file carry the same description (`describe`): a training checkpoint, and a pair of NAME.safetensors and
NAME.json that holds only weights.
"""

import hashlib
import json
import pickle
import reprlib
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.data.normalisation import MEAN, STD
from facekp.errors import CheckpointError
from facekp.files import Recognise, begins_with, make_folder, write_file
from facekp.weights.paths import WEIGHTS, description_of, require_file

KEY: Final = "facekp"  # key of the description in a training checkpoint
DEFAULT_LOSS: Final = {"name": "ohem"}  # loss of files that do not name one
FIXED: Final = {"format": 1, "mean": list(MEAN), "std": list(STD)}  # in every description: what networks assume


def describe(
    model: dict[str, Any], size: int, loss: dict[str, Any] | None = None, classes: Classes = CELEBAMASK_HQ
) -> dict[str, Any]:
    """Return the plain data that makes a checkpoint self-sufficient.

    `model` and `loss` hold the name and the settings for `build_model` and `build_loss`; `size` is the side, pixels, at
    which the network was evaluated.
    """
    about = {"format": 1, "classes": classes.to_plain()} | FIXED  # in the order of files of before
    return about | {"model": dict(model), "size": size, "loss": dict(loss or DEFAULT_LOSS)}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a training checkpoint; nothing in it is executed.

    It is Lightning's dictionary: `state_dict`, `hyper_parameters`, `global_step`, ..., and under `KEY` the description.

    Raises:
        CheckpointError: the file is missing, is not a checkpoint, contains a pickle, or was not written by facekp.
    """
    path = Path(path)
    require_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler raise IndexError, struct.error and others
        reason = "not a checkpoint, or truncated; copy or train it again"
        if isinstance(error, pickle.UnpicklingError):
            own = "use one that facekp's train.py wrote"
            reason = f"holds something other than plain data and tensors, so it is not opened; {own}"
        elif isinstance(error, OSError):
            reason = f"cannot be read ({error.strerror}); check its permissions"
        raise CheckpointError(f"checkpoint '{path}': {reason}") from error
    about = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(about, dict) or "state_dict" not in content:
        raise CheckpointError(f"checkpoint '{path}': facekp did not write it; use one that its train.py wrote")
    _require_readable(path, about)
    return content


def is_checkpoint(path: Path) -> bool:
    """Return whether a file is a training checkpoint that `read_checkpoint` reads."""
    try:
        return bool(read_checkpoint(path))
    except CheckpointError:
        return False


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights as float32 from NAME.safetensors, and their description from NAME.json, or config.json for model.

    Raises:
        CheckpointError: a file of the pair is missing, damaged, not facekp's, or does not belong to the other.
    """
    path = Path(path)
    beside = description_of(path)
    for part in (path, beside):
        if not part.is_file():
            lost = f"this installation lacks facekp's own weights, '{part}': install it again, or give ckpt="
            none = f"checkpoint '{part}': no such file; `facekp release` writes both of a pair"
            raise CheckpointError(lost if path == WEIGHTS else none)
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
        # float32: the precision to compute in is chosen later, for the device.
        weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except (ValueError, SafetensorError, OSError) as error:
        remedy = "copy or install it again"
        raise CheckpointError(f"checkpoint '{path}': it or its .json cannot be read ({error}); {remedy}") from error
    if not isinstance(about, dict):
        raise CheckpointError(f"checkpoint '{beside}': facekp did not write it; `facekp release` does")
    _require_readable(path, about)
    if about.get("sha256") != hashlib.sha256(path.read_bytes()).hexdigest():
        raise CheckpointError(f"checkpoint '{path}': not the weights that its .json describes; copy both again")
    return weights, about


def write_weights(net: nn.Module, about: dict[str, Any], path: Path) -> None:
    """Write a network's weights as NAME.safetensors, and their description as NAME.json (see `read_weights`).

    Tensors of two or more dimensions are stored in float16, which rounds to one part in two thousand; all others
    (biases and batch-norm) are stored unchanged.
    """
    state = net.state_dict().items()
    small = {k: (v.half() if v.is_floating_point() and v.ndim > 1 else v).contiguous() for k, v in state}
    make_folder(path.parent)
    write_file(path, save(small))  # safetensors' save_file would make the file readable by its owner only
    about = about | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_file(description_of(path), json.dumps(about, indent=2) + "\n")


def written_files(path: Path) -> dict[Path, Recognise]:
    """Return the files of `write_weights`, and for each what tells whether facekp wrote it."""
    beside = description_of(path)

    def is_described(weights: Path) -> bool:
        about = json.loads(beside.read_text(encoding="utf-8"))
        return bool(about["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest())

    return {path: is_described, beside: begins_with(rb'\{\s+"format": \d+,\s+"classes": [\[{]')}


def _require_readable(path: Path, about: dict[str, Any]) -> None:
    """Raise CheckpointError for a description that this version's networks would misread."""
    if not isinstance(about.get("size"), int) or not isinstance(about.get("model"), dict):
        raise CheckpointError(f"checkpoint '{path}': does not state its size or network; use another copy")
    for name, value in FIXED.items():
        if about.get(name) != value:
            raise CheckpointError(
                f"checkpoint '{path}': its {name} is {reprlib.repr(about.get(name))}, this version reads "
                f"{reprlib.repr(value)}; use the version that wrote it"
            )
    try:
        Classes.from_plain(about.get("classes"))
    except ValueError as error:
        raise CheckpointError(f"checkpoint '{path}': its classes: {error}; use the version that wrote it") from error

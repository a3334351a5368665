"""Networks out of files: a checkpoint of training, or weights alone, such as those that facekp ships."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from facekp.errors import CheckpointError, ConfigError
from facekp.files import expand, make_folder, replacing
from facekp.models import Network, build_without_weights
from facekp.models.registry import network_class
from facekp.weights.checkpoint import KEY, NET_PREFIX, read_checkpoint, require_readable

SHIPPED: Final = "shipped"
"""What stands for facekp's own weights wherever a checkpoint is named."""
WEIGHTS = Path(__file__).parent / "shipped" / "fpn.safetensors"
SAFETENSORS = ".safetensors"
TERMS: Final = (
    "The weights that facekp ships (ckpt=shipped) were trained on CelebAMask-HQ: for non-commercial research and\n"
    "education only; facekp/weights/shipped/TERMS.md."
)
CKPT_HELP: Final = (
    "RUN/checkpoints/best.ckpt, the .onnx file that facekp.export.onnx made of it, or shipped: facekp's own weights"
)


def locate(path: str | Path) -> Path:
    """Return the path of a checkpoint, with "shipped", `~` and environment variables resolved."""
    return WEIGHTS if path == SHIPPED else expand(str(path))


def is_safetensors(path: str | Path) -> bool:
    """Tell by its ending whether a file is what `facekp.export.release` writes."""
    return Path(path).suffix.lower() == SAFETENSORS


def load_network(path: str | Path) -> tuple[Network, dict[str, Any]]:
    """Rebuild the network of a checkpoint, in evaluation mode on the CPU.

    Args:
        path: what `train.py` or `facekp.export.release` wrote, or "shipped".

    Returns:
        The network, and the checkpoint's description (see `describe`).

    Raises:
        CheckpointError: see `read_checkpoint`, or weights that do not fit the network.
    """
    weights, about = _open(path)
    try:
        net = build_without_weights(**about["model"])
        net.load_state_dict(weights)
    except (ConfigError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint '{path}': its weights or settings do not fit this version's networks "
            f"({str(error).splitlines()[0]})"
        ) from error
    return net.eval(), about


def begin_with(net: Network, path: str | Path) -> str:
    """Give a network the weights of a checkpoint of the same network, or of another that has the same trunk.

    Args:
        net: a network of `facekp.models`. Its trunk is all but `Network.head_parts`.
        path: as of `load_network`.

    Returns:
        "all weights", or "the trunk" where the rest is another network's; then the rest of `net` stays as it is.

    Raises:
        CheckpointError: see `read_checkpoint`.
        ConfigError: weights of a network with another trunk. `resnet18` and `fpn` share theirs, and so do networks of
            `smp` with one encoder.
    """
    weights, about = _open(path)
    if _shapes(weights) == _shapes(net.state_dict()):
        net.load_state_dict(weights)
        return "all weights"
    trunk = _trunk(weights, network_class(about["model"]["name"]))
    if not trunk or _shapes(trunk) != _shapes(_trunk(net.state_dict(), type(net))):
        raise ConfigError(
            f"init is '{path}', which holds a network of {about['model']}: take one with the same trunk, or leave init"
        )
    net.load_state_dict(trunk, strict=False)
    return "the trunk"


def _trunk(weights: Mapping[str, Tensor], network: type[Network]) -> dict[str, Tensor]:
    heads = tuple(f"{part}." for part in network.head_parts)
    return {name: tensor for name, tensor in weights.items() if not name.startswith(heads)}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Open weights alone: NAME.safetensors, which `facekp.export.release` writes, with its description in NAME.json.

    Returns:
        The network's tensors, float32, and the description.

    Raises:
        CheckpointError: no such file, none of facekp's, or a damaged one.
    """
    path = Path(path)
    beside = path.with_suffix(".json")
    for part in (path, beside):
        if not part.is_file() and path == WEIGHTS:
            raise CheckpointError(
                f"this installation lacks facekp's own weights, '{part}': install it again, or give ckpt="
            )
        if not part.is_file():
            raise CheckpointError(
                f"checkpoint '{part}': no such file; `python -m facekp.export.release` writes both of a pair"
            )
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
        # float32: what a network computes in on a CPU is chosen later (facekp/parsing/score_net.py).
        weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    except (ValueError, SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint '{path}': it or its .json cannot be read ({error}); copy or install it again"
        ) from error
    if not isinstance(about, dict):
        raise CheckpointError(f"checkpoint '{beside}': facekp did not write it; `python -m facekp.export.release` does")
    require_readable(path, about)
    if about.get("sha256") != _hash(path):
        raise CheckpointError(f"checkpoint '{path}': not the weights that its .json describes; copy both again")
    return weights, about


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_weights(net: nn.Module, about: dict[str, Any], path: Path) -> None:
    """Write a network's weights as NAME.safetensors, and their description as NAME.json, which `read_weights` reads.

    Matrices are stored in float16, which rounds to one part in two thousand; all else (batch-norm) as it is.
    """
    state = net.state_dict().items()
    small = {k: (v.half() if v.is_floating_point() and v.ndim > 1 else v).contiguous() for k, v in state}
    make_folder(path.parent)
    with replacing(path) as part:
        part.write_bytes(save(small))  # safetensors' own save_file lets nobody else read the file
    with replacing(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(about | {"sha256": _hash(path)}, indent=2) + "\n", encoding="utf-8")


def _open(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a checkpoint's weights and description."""
    path = locate(path)
    if is_safetensors(path):
        return read_weights(path)
    content = read_checkpoint(path)
    state = content["state_dict"].items()
    return {k.removeprefix(NET_PREFIX): v for k, v in state if k.startswith(NET_PREFIX)}, content[KEY]

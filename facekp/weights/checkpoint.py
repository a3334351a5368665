"""What a checkpoint says about itself, and how one is opened without trusting it."""

import pickle
import reprlib
from pathlib import Path
from typing import Any

import torch

from facekp.classes import ATTRIBUTES
from facekp.data.normalisation import MEAN, STD
from facekp.errors import CheckpointError

KEY = "facekp"
FORMAT = 1
NET_PREFIX = "net."
"""Of the network's tensors in a checkpoint of the whole module."""

CHECKPOINTS = "checkpoints"
"""The folder of a run folder that holds them."""
BEST, LAST = "best", "last"
"""Their names, without `.ckpt`."""


def describe(model: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the plain data that makes a checkpoint self-sufficient.

    Args:
        model: `name` and settings for `build_model`.
        size: side in pixels at which the network was evaluated.
    """
    return {
        "format": FORMAT,
        "model": dict(model),
        "size": size,
        "classes": list(ATTRIBUTES),
        "mean": list(MEAN),
        "std": list(STD),
    }


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Open a facekp checkpoint; nothing in it is executed.

    Returns:
        Lightning's dictionary: `state_dict`, `hyper_parameters`, `global_step`, ..., and `facekp`, our description.

    Raises:
        CheckpointError: no such file, no checkpoint, a pickle inside, or one that facekp did not write.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint '{path}': no such file; training writes RUN/checkpoints/best.ckpt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint '{path}': holds something other than plain data and tensors, so it is not opened; "
            "use one that facekp's train.py wrote"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"checkpoint '{path}': cannot be read ({error.strerror}); see to its permissions"
        ) from error
    except Exception as error:  # a damaged file makes the unpickler raise IndexError, struct.error and others
        raise CheckpointError(f"checkpoint '{path}': not a checkpoint, or truncated; copy or train it again") from error
    about = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(about, dict) or "state_dict" not in content:
        raise CheckpointError(f"checkpoint '{path}': facekp did not write it; use one that its train.py wrote")
    require_readable(path, about)
    checked: dict[str, Any] = content
    return checked


def require_readable(path: Path, about: dict[str, Any]) -> None:
    """Raise CheckpointError for what this version's networks would read wrongly."""
    if not isinstance(about.get("size"), int) or not isinstance(about.get("model"), dict):
        raise CheckpointError(f"checkpoint '{path}': says nothing of its size or network; take another copy")
    fixed = {"format": FORMAT, "classes": list(ATTRIBUTES), "mean": list(MEAN), "std": list(STD)}
    for name, value in fixed.items():
        if about.get(name) != value:
            raise CheckpointError(
                f"checkpoint '{path}': its {name} is {reprlib.repr(about.get(name))}, this version reads "
                f"{reprlib.repr(value)}; use the version that wrote it"
            )

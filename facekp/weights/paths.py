"""Names and paths of checkpoints. This module imports nothing heavy."""

from pathlib import Path
from typing import Final

from facekp.errors import CheckpointError
from facekp.files import expand

SHIPPED: Final = "shipped"  # name of facekp's own weights, accepted wherever a checkpoint is
WEIGHTS: Final = Path(__file__).parent / "shipped" / "fpn.safetensors"
SAFETENSORS: Final = ".safetensors"
MODEL, CONFIG = "model.safetensors", "config.json"  # in a folder laid out as on the Hugging Face Hub

CHECKPOINTS: Final = "checkpoints"  # folder of the checkpoints in a run folder
BEST, LAST = "best", "last"  # stems of the checkpoint files

TERMS: Final = (
    "The weights that facekp ships (ckpt=shipped) were trained on CelebAMask-HQ: for non-commercial research and\n"
    "education only; see facekp/weights/shipped/TERMS.md."
)
CKPT_HELP: Final = "RUN/checkpoints/best.ckpt, an .onnx file of `facekp export`, or shipped: facekp's own weights"


def locate_checkpoint(path: str | Path) -> Path:
    """Return the path of a checkpoint, with "shipped", `~`, environment variables and model folders resolved."""
    found = WEIGHTS if path == SHIPPED else expand(str(path))
    return found / MODEL if found.is_dir() else found


def description_of(weights: Path) -> Path:
    """Return the path of the description of a .safetensors file."""
    return weights.with_name(CONFIG) if weights.name == MODEL else weights.with_suffix(".json")


def is_safetensors(path: str | Path) -> bool:
    """Return whether a path has the suffix of weights written by `facekp.export.release`."""
    return Path(path).suffix.lower() == SAFETENSORS


def require_file(path: Path) -> None:
    """Raise CheckpointError unless a checkpoint is an existing file; the message names the command that writes one."""
    if path.name == MODEL and path.parent.is_dir() and not path.exists():
        raise CheckpointError(
            f"checkpoint '{path.parent}': a folder without {MODEL}; if it is a run's, give its "
            f"{CHECKPOINTS}/{BEST}.ckpt"
        )
    writes = {SAFETENSORS: "`facekp release` writes it and its .json", ".onnx": "`facekp export ckpt=...` makes one"}
    if not path.is_file():
        maker = writes.get(path.suffix.lower(), "training writes RUN/checkpoints/best.ckpt")
        raise CheckpointError(f"checkpoint '{path}': no such file; {maker}")

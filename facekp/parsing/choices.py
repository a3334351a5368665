"""Allowed values of the parser's arguments. This module imports nothing heavy."""

from pathlib import Path
from typing import Final, Literal, get_args

Align = Literal["none", "auto"]
ALIGNS: Final[tuple[str, ...]] = get_args(Align)
BackendName = Literal["auto", "torch", "onnx", "openvino"]
BACKENDS: Final[tuple[str, ...]] = get_args(BackendName)
Tta = Literal["none", "flip"]
TTAS: Final[tuple[str, ...]] = get_args(Tta)
TTA_HELP: Final = "flip: average the scores with those of the mirrored image, in twice the time"
Head = Literal["scores", "labels"]
"""What an exported network returns: its score maps, or the id of each pixel's class."""
AUTO, CENTERFACE, HAAR = DETECTORS = ("auto", "centerface", "haar")
"""Names of face detectors; any other is given as a file."""
ONNX_SUFFIX: Final = ".onnx"


def is_onnx(path: str | Path) -> bool:
    """Return whether a path has the suffix of an exported network."""
    return Path(path).suffix.lower() == ONNX_SUFFIX

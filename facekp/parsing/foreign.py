"""ONNX files of other face parsers, as a backend."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from facekp.classes import Classes
from facekp.errors import CheckpointError
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.models.stride import STRIDE
from facekp.parsing.backends import open_session

SIZE: Final = 512
"""Side in pixels of the images for a file that takes any size."""
CERTAIN: Final = np.float32(10)
"""Score of the class of a pixel, for a file that returns labels; that of the others is 0."""


@dataclass(frozen=True)
class Foreign:
    """What a file does not say of itself.

    Attributes:
        classes: its classes, in the order of its ids.
        mean, std: of the channels, 0..1; a file that takes uint8 gets the pixels as they are.
    """

    classes: Classes
    mean: Sequence[float]
    std: Sequence[float]


class ForeignBackend:
    """Another parser's ONNX file, run by onnxruntime on the CPU; see `Backend`.

    The file takes one input, images (N, 3, H, W) or (N, H, W, 3) RGB, float or uint8. Its first output is either
    scores (N, C, h, w) or (N, h, w, C) of any size, or labels (N, h, w) or (N, 1, h, w). A fixed N must be 1.

    Args:
        path: the file.
        about: its classes and normalisation.

    Raises:
        CheckpointError: not an ONNX file, or one with other inputs or outputs.
        ConfigError: onnxruntime is not installed.
    """

    batch = streams = 1

    def __init__(self, path: Path, about: Foreign) -> None:
        self.path, self.classes, self.about = path, about.classes, about
        self._session = open_session(path)
        (given, *more), shape = self._session.get_inputs(), self._session.get_inputs()[0].shape
        if more or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise CheckpointError(f"checkpoint '{path}': takes {shape}, not one input (N, 3, H, W) or (N, H, W, 3)")
        self._name, self._type, self._first = given.name, given.type, shape[1] == 3
        side = shape[2]
        self.size: int = side if isinstance(side, int) else SIZE
        if self.size % STRIDE:
            raise CheckpointError(f"checkpoint '{path}': takes {side} pixels; a multiple of {STRIDE} is needed")

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps (N, h, w, C) of images (N, H, W, 3) uint8 RGB, alone in a list."""
        return [np.concatenate([self._scores(self._prepared(image[None])) for image in images])]

    def _prepared(self, images: UInt8Array) -> Any:
        pixels = images if "uint8" in self._type else self._normalised(images)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if self._first else pixels)

    def _normalised(self, images: UInt8Array) -> Any:
        mean, std = (np.asarray(values, np.float32) for values in (self.about.mean, self.about.std))
        return ((images / np.float32(255) - mean) / std).astype(np.float16 if "float16" in self._type else np.float32)

    def _scores(self, pixels: Any) -> Scores:
        output, count = self._session.run(None, {self._name: pixels})[0], len(self.classes)
        if output.ndim == 4 and output.shape[1] == 1 and count > 1:
            output = output[:, 0]
        if output.ndim == 3:
            return np.asarray(CERTAIN * (np.rint(output)[..., None] == np.arange(count)), np.float32)
        axis = next((axis for axis in (1, 3) if output.ndim == 4 and output.shape[axis] == count), None)
        if axis is None:
            raise CheckpointError(
                f"checkpoint '{self.path}': returns {output.shape}, not labels or scores of {count} classes: check ids"
            )
        return np.moveaxis(output, axis, 3).astype(np.float32)

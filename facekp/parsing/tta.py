"""Test-time augmentation: the mean of the scores of an image and of its mirror image."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from facekp.classes import Classes
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.parsing.backends import Backend

if TYPE_CHECKING:
    from torch import Tensor

    from facekp.models import Heads


def mirrored(classes: Classes) -> npt.NDArray[np.int64]:
    """Return the class whose score belongs to each class in a mirrored image: left and right are swapped."""
    return classes.mirror_table()[: len(classes)].astype(np.int64)


class Flip:
    """A backend that averages the scores of each image and its mirror image, in twice the time.

    Args:
        backend: runs the network.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.size, self.batch, self.streams = backend.size, backend.batch, backend.streams
        self.classes, self.mirrored = backend.classes, mirrored(backend.classes)

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        maps, turned = self.backend(images), self.backend(np.ascontiguousarray(images[:, :, ::-1]))
        return [np.float32(0.5) * (s + t[:, :, ::-1][..., self.mirrored]) for s, t in zip(maps, turned, strict=True)]


def flipped(run: "Callable[[Tensor], Heads]", classes: Classes) -> "Callable[[Tensor], Heads]":
    """Return `run`, from pixels (N, H, W, 3) to scores of `classes`, averaged over each image and its mirror image."""
    from facekp.models import Heads  # imports torch, which a `Flip` of an ONNX file does not need

    swapped = mirrored(classes)

    def both(pixels: "Tensor") -> Heads:
        maps, turned = run(pixels).predict, run(pixels.flip(2)).predict
        return Heads(tuple((s + t.flip(3)[:, swapped]) / 2 for s, t in zip(maps, turned, strict=True)))

    return both

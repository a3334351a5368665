"""Test-time augmentation: the mean of the scores of an image and of its mirror image."""

from collections.abc import Callable
from typing import Final

import numpy as np
from torch import Tensor

from facekp.classes import NUM_CLASSES, mirror_table
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.models import Heads
from facekp.parsing.backends import Backend

MIRRORED: Final = mirror_table()[:NUM_CLASSES].astype(np.int64)
"""Class whose score belongs to each class in a mirrored image: left and right are swapped."""


class Flip:
    """A backend that averages the scores of each image and its mirror image, in twice the time.

    Args:
        backend: runs the network.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.size, self.batch, self.streams = backend.size, backend.batch, backend.streams

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `Backend`."""
        maps, turned = self.backend(images), self.backend(np.ascontiguousarray(images[:, :, ::-1]))
        return [np.float32(0.5) * (s + t[:, :, ::-1][..., MIRRORED]) for s, t in zip(maps, turned, strict=True)]


def flipped(run: Callable[[Tensor], Heads]) -> Callable[[Tensor], Heads]:
    """Return `run`, which maps pixels (N, H, W, 3) to score maps, averaged over each image and its mirror image."""

    def both(pixels: Tensor) -> Heads:
        maps, turned = run(pixels).predict, run(pixels.flip(2)).predict
        return Heads(tuple((s + t.flip(3)[:, MIRRORED]) / 2 for s, t in zip(maps, turned, strict=True)))

    return both

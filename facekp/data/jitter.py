"""Brightness, contrast and saturation in as few passes over the pixels as their clipping allows."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

Kind = Literal["brightness", "contrast", "saturation"]
KINDS: tuple[Kind, ...] = ("brightness", "contrast", "saturation")
RED, GREEN, BLUE = 0.299, 0.587, 0.114
"""Weights of red, green and blue in the grey level: ITU-R BT.601."""
THINNING = 4
"""The mean that contrast needs is taken over every fourth pixel of every fourth row."""


class Shade(NamedTuple):
    """The map `colour * own + grey(colour) * grey + level`: any sequence of the three kinds of jitter is such a map.

    Attributes:
        own: share of the colour itself.
        grey: share of its grey level.
        level: what is added to all three channels, 0..255.
    """

    own: float = 1.0
    grey: float = 0.0
    level: float = 0.0

    def then(self, kind: Kind, factor: float, mean: float) -> "Shade":
        """Return this followed by one step; `mean` is the mean grey level of the picture before both.

        Example:
            >>> Shade().then("brightness", 0.5, 100).then("contrast", 0.5, 100)  # the mean is 50 by then
            Shade(own=0.25, grey=0.0, level=25.0)
        """
        own, grey, level = self
        if kind == "saturation":
            return Shade(own * factor, grey * factor + (1 - factor) * (own + grey), level)
        middle = (own + grey) * mean + level if kind == "contrast" else 0.0
        return Shade(own * factor, grey * factor, level * factor + (1 - factor) * middle)

    def apply(self, pixels: UInt8Array) -> UInt8Array:
        """Return (H, W, 3) uint8, rounded and clipped."""
        if not self.grey:  # cv2.transform takes 20 times as long for such a matrix
            return np.asarray(cv2.addWeighted(pixels, self.own, pixels, 0, self.level), np.uint8)
        own, level, r, g, b = self.own, self.level, self.grey * RED, self.grey * GREEN, self.grey * BLUE
        matrix = np.array([[own + r, g, b, level], [r, own + g, b, level], [r, g, own + b, level]])
        return np.asarray(cv2.transform(pixels, matrix), np.uint8)


def jitter(pixels: UInt8Array, steps: Sequence[tuple[Kind, float]], whole: UInt8Array) -> UInt8Array:
    """Return `pixels` after each step in turn, as torchvision's and albumentations' ColorJitter define them.

    A factor up to 1 mixes colours with black, with their grey or with the mean grey. That stays within 0..255, so the
    next step can be done in the same pass. A greater one can leave that range, and what leaves it is clipped before
    the next step: there a pass ends.

    Args:
        pixels: (H, W, 3) uint8 RGB, a part of `whole`.
        steps: kinds and factors; 1 leaves everything as it is, 0 takes all of the kind away.
        whole: (H, W, 3) uint8 RGB, whose mean grey level is the middle of the contrast.
    """
    height, width = whole.shape[:2]
    few = max(1, width // THINNING), max(1, height // THINNING)
    sample = np.asarray(cv2.resize(whole, few, interpolation=cv2.INTER_NEAREST), np.uint8)
    shade = Shade()
    for place, (kind, factor) in enumerate(steps, start=1):
        shade = shade.then(kind, factor, _mean_grey(sample) if kind == "contrast" else 0.0)
        if place == len(steps):
            return shade.apply(pixels)
        if factor > 1:
            pixels, sample, shade = shade.apply(pixels), shade.apply(sample), Shade()
    return pixels


def _mean_grey(pixels: UInt8Array) -> float:
    red, green, blue, _ = cv2.mean(pixels)
    return RED * red + GREEN * green + BLUE * blue

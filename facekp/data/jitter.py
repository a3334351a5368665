"""Jitter of brightness, contrast and saturation in as few passes over the pixels as clipping allows."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from facekp.images import UInt8Array

Kind = Literal["brightness", "contrast", "saturation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # weights of red, green and blue in the grey level. Reference: ITU-R BT.601.
THINNING = 4  # the mean grey level for contrast is taken over every fourth pixel of every fourth row


class Shade(NamedTuple):
    """The colour map `own * colour + grey * grey_level(colour) + level`; every sequence of jitter steps is one."""

    own: float = 1.0
    grey: float = 0.0
    level: float = 0.0

    def then(self, kind: Kind, factor: float, mean: float) -> "Shade":
        """Return this map followed by one step; `mean` is the image's mean grey level before both.

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
        """Map (H, W, 3) uint8, rounded and clipped."""
        if not self.grey:  # cv2.transform is 20 times slower for a diagonal matrix
            return cv2.addWeighted(pixels, self.own, pixels, 0, self.level)
        own, level, r, g, b = self.own, self.level, self.grey * RED, self.grey * GREEN, self.grey * BLUE
        matrix = np.array([[own + r, g, b, level], [r, own + g, b, level], [r, g, own + b, level]])
        return cv2.transform(pixels, matrix)


def jitter(pixels: UInt8Array, steps: Sequence[tuple[Kind, float]], whole: UInt8Array) -> UInt8Array:
    """Apply jitter steps in turn, each defined as in torchvision's and albumentations' ColorJitter.

    A factor of up to 1 blends colours with black, their grey level or the mean grey level. That stays within 0..255, so
    the next step joins the same pass. A larger factor can leave that range, and the definition clips before the next
    step: there a pass ends.

    Args:
        pixels: (H, W, 3) uint8 RGB, a part of `whole`.
        steps: kinds and factors; a factor of 1 changes nothing, 0 removes the property altogether.
        whole: (H, W, 3) uint8 RGB; contrast is relative to its mean grey level.
    """
    height, width = whole.shape[:2]
    thinned = max(1, width // THINNING), max(1, height // THINNING)
    sample = cv2.resize(whole, thinned, interpolation=cv2.INTER_NEAREST)
    shade = Shade()
    for place, (kind, factor) in enumerate(steps, start=1):
        red, green, blue, _ = cv2.mean(sample) if kind == "contrast" else (0.0,) * 4
        shade = shade.then(kind, factor, RED * red + GREEN * green + BLUE * blue)
        if place == len(steps):
            return shade.apply(pixels)
        if factor > 1:
            pixels, sample, shade = shade.apply(pixels), shade.apply(sample), Shade()
    return pixels

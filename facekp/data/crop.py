"""Crop before scaling: which source pixels a crop of the scaled picture is made of."""

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]


class Span(NamedTuple):
    """One axis of a crop.

    Attributes:
        start: first source pixel that is read.
        stop: the one after the last.
        scaled: what these are scaled to, pixels.
        skip: scaled pixels in front of the crop.
        keep: scaled pixels in the crop; it is padded where they are fewer than its side.
    """

    start: int
    stop: int
    scaled: int
    skip: int
    keep: int


def span(side: int, factor: float, crop: int, place: float) -> Span:
    """Return the source pixels of a crop, such that scaling only these gives what scaling all and cropping would.

    A side of n pixels is scaled to m. With n / m = q / p in lowest terms, every p scaled pixels lie on q source pixels
    in the same way, so a cut at a multiple of both leaves each scaled pixel where it was. One such block more on
    either side holds the neighbours that interpolation needs.

    Args:
        side: n, source pixels.
        factor: m is `int(n * factor)`.
        crop: side of the crop in scaled pixels; where m is smaller, all of it is kept.
        place: where the crop lies: 0 at the start, just below 1 at the end.

    Example:
        Half as large again: blocks of 2 source pixels and 3 scaled ones. The crop's 448 pixels begin at 160 of the 768:

        >>> span(512, 1.5, 448, 0.5)
        Span(start=104, stop=408, scaled=456, skip=4, keep=448)
        >>> span(512, 0.75, 448, 0.5)  # smaller than the crop
        Span(start=0, stop=512, scaled=384, skip=0, keep=384)
    """
    scaled = int(side * factor)
    keep = min(crop, scaled)
    first = int((scaled - keep + 1) * place)
    blocks = math.gcd(side, scaled)
    source, target = side // blocks, scaled // blocks
    low = max(0, first // target - 1)
    high = min(blocks, -(-(first + keep) // target) + 1)
    return Span(low * source, high * source, (high - low) * target, first - low * target, keep)


def reflect(across: Span, side: int) -> Span:
    """Return the span whose source pixels, turned round, are those of `across` in the mirrored picture."""
    return across._replace(start=side - across.stop, stop=side - across.start)


def enlarge(pixels: UInt8Array, down: Span, across: Span, *, interpolation: int) -> UInt8Array:
    """Scale the source pixels of a crop, (H, W) or (H, W, 3) uint8, and cut the crop out of them."""
    if pixels.shape[:2] != (down.scaled, across.scaled):
        scaled = cv2.resize(pixels, (across.scaled, down.scaled), interpolation=interpolation)
        pixels = np.asarray(scaled, np.uint8)
    return pixels[down.skip : down.skip + down.keep, across.skip : across.skip + across.keep]


def pad(pixels: UInt8Array, side: int, value: int) -> UInt8Array:
    """Return `pixels` in the middle of a square of `side` pixels that is `value` elsewhere."""
    height, width = side - pixels.shape[0], side - pixels.shape[1]
    if not height and not width:
        return pixels
    top, left = height // 2, width // 2
    edges = (top, height - top, left, width - left)
    return np.asarray(cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_CONSTANT, value=(value,) * 3), np.uint8)

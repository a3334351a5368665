"""Crop before scaling: find the source pixels of a crop of the scaled image, and scale only those."""

import math
from typing import NamedTuple

import cv2

from facekp.images import UInt8Array


class Span(NamedTuple):
    """One axis of a crop.

    Attributes:
        start: first source pixel that is read.
        stop: source pixel after the last one that is read.
        scaled: length that the source pixels are scaled to, pixels.
        skip: scaled pixels before the crop.
        keep: scaled pixels in the crop; fewer than the crop's side if the scaled image is smaller.
    """

    start: int
    stop: int
    scaled: int
    skip: int
    keep: int


def span(side: int, factor: float, crop: int, place: float) -> Span:
    """Return the source pixels of a crop; scaling only these gives the same crop as scaling the whole image.

    A side of n pixels is scaled to m. With n / m = q / p in lowest terms, each block of q source pixels becomes a block
    of p scaled pixels in the same way, so cutting at block boundaries moves no scaled pixel. One more block on either
    side holds the neighbours that interpolation needs.

    Args:
        side: n, source pixels.
        factor: m is `int(n * factor)`.
        crop: side of the crop in scaled pixels; if m is smaller, all of it is kept.
        place: position of the crop, from 0 (at the start) to just below 1 (at the end).

    Example:
        A factor of 1.5: blocks of 2 source pixels and 3 scaled ones. The crop's 448 pixels begin at 160 of the 768:

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


def enlarge(pixels: UInt8Array, down: Span, across: Span, *, interpolation: int) -> UInt8Array:
    """Scale a crop's source pixels, (H, W) or (H, W, 3) uint8, and cut the crop out of them."""
    if pixels.shape[:2] != (down.scaled, across.scaled):
        pixels = cv2.resize(pixels, (across.scaled, down.scaled), interpolation=interpolation)
    return pixels[down.skip : down.skip + down.keep, across.skip : across.skip + across.keep]


def pad(pixels: UInt8Array, side: int, value: int) -> UInt8Array:
    """Return `pixels` centred in a square of `side` pixels, padded with `value`."""
    height, width = side - pixels.shape[0], side - pixels.shape[1]
    if height or width:
        edges = (height // 2, height - height // 2, width // 2, width - width // 2)
        pixels = cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_CONSTANT, value=(value,) * 3)
    return pixels

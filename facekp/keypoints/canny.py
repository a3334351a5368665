"""The paper's outlines: Canny edges of every attribute's mask, ordered, at sub-pixel precision."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from facekp.images import UInt8Array
from facekp.keypoints.curves import SMOOTHING, Loop, overhang, smoothed

CANNY_LOW, CANNY_HIGH = 100, 200
"""A mask is 0 or 255, so that every step's Sobel response is far above both thresholds."""
CANNY_OFFSET = 0.5
"""Canny marks the upper left of the two pixels at a vertical or horizontal step; the step itself lies half a pixel to
the lower right. Enlarged masks have no other steps."""
ENLARGED_BELOW = 128
"""Attributes with a smaller box are enlarged twofold, so that lines of one pixel (a brow's end, glasses) have an
interior."""
SHORT_LOOP = 32
"""Every second point of a smooth curve in an enlarged mask is enough; shorter loops keep all points."""


class _Chain(NamedTuple):
    """An outline from Canny, in pixels of the enlarged mask."""

    class_id: int
    factor: int  # by which the mask was enlarged
    pixels: npt.NDArray[np.int32]
    box: tuple[int, int, int, int]  # x, y, width and height of the class, in pixels of the mask
    start: tuple[int, int]  # x, y of the first pixel of the enlarged crop, in pixels of the mask, relative to the box
    hole: bool


def edge_loops(mask: UInt8Array, classes: range, min_area: float) -> Iterator[Loop]:
    """Yield the outlines of the parts and holes of every class of a mask (H, W) uint8; see `outlines.trace`.

    Reference: Canny 1986; the edges are those of OpenCV's `Canny` (Sobel, non-maximum suppression, hysteresis).
    """
    # One array for all classes: allocating a new one costs ten times the comparison.
    own = np.empty(mask.shape, bool)
    chains = [chain for i in classes for chain in _chains(np.equal(mask, i, out=own), i, min_area)]
    for factor in (1, 2):
        alike = [chain for chain in chains if chain.factor == factor]
        curves = smoothed([chain.pixels for chain in alike], SMOOTHING * factor)
        for chain, smooth in zip(alike, curves, strict=True):
            curve = smooth[:: factor if len(smooth) >= SHORT_LOOP else 1]
            # From pixel centres to pixel borders; smoothing may overshoot sharp corners there.
            curve = ((curve + CANNY_OFFSET + 0.5) / factor + chain.start).clip(0, chain.box[2:]) - 0.5 + chain.box[:2]
            yield Loop(chain.class_id, curve, chain.hole)


def _chains(mask: npt.NDArray[np.bool_], class_id: int, min_area: float) -> Iterator[_Chain]:
    """Yield the edges around the parts of one class's mask (H, W) and around their holes."""
    own = mask.view(np.uint8)
    x, y, width, height = cv2.boundingRect(own)
    if not width:
        return
    above, below, left, right = overhang((x, y, width, height), mask.shape)
    whole = cv2.copyMakeBorder(own[y : y + height, x : x + width], above, below, left, right, cv2.BORDER_REPLICATE)
    framed = cv2.copyMakeBorder(whole * np.uint8(255), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    factor = 2 if max(width, height) < ENLARGED_BELOW else 1
    large = cv2.resize(framed, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    edges = cv2.Canny(large, CANNY_LOW, CANNY_HIGH)
    if factor == 1:
        # Next to lines of one pixel, and at some corners, Canny also marks a pixel to the lower right.
        edges = cv2.bitwise_and(edges, cv2.dilate(large, np.ones((2, 2), np.uint8), anchor=(0, 0)))
    # Non-maximum suppression leaves gaps at sharp corners, so the edge alone is not a closed curve. Filled with the
    # mask, it has the same outline and no gap.
    found, tree = cv2.findContours(cv2.bitwise_or(edges, large), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = tree[0, :, 3]
    enclosed = np.array([cv2.contourArea(chain) for chain in found]) / factor**2
    holes = parents >= 0
    kept = enclosed - np.bincount(parents[holes], enclosed[holes], minlength=len(found)) >= min_area
    kept[holes] &= kept[parents[holes]]
    for i in np.flatnonzero(kept):
        pixels = np.asarray(found[int(i)][:, 0], np.int32)
        yield _Chain(class_id, factor, pixels, (x, y, width, height), (-1 - left, -1 - above), bool(holes[i]))

"""Outlines as level lines: where an attribute's score overtakes all others, between pixels.

Margin of a class: its score less the highest of all others. It is positive where the class wins, and its zero level,
found by marching squares, is the outline. A mask has no scores: there the margin is 1 inside and -1 outside.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from contourpy import FillType, contour_generator

from facekp.attributes import NUM_CLASSES
from facekp.curves import SMOOTHING, Curve, Loop, signed_area, smoothed
from facekp.images import UInt8Array
from facekp.upsample import Scores, halfway

# The margin beyond the image's border: so low that the zero level between it and any score lies on the border.
BEYOND = -1e9
# Level lines are drawn straight between samples, and bilinear scores are not. So the cells of small attributes are
# halved as long as the longer side of their box has at most so many samples, and at most three times.
SAMPLES = 128
MOST_HALVINGS = 3


def level_loops(grid: Scores, mask: UInt8Array, classes: range, min_area: float) -> Iterator[Loop]:
    """Yield the outlines of the parts of every class, and those of their holes, from scores.

    Args:
        grid: (2h + 1, 2w + 1, C) float32, what `facekp.upsample.sum_on_grid` gives.
        mask: (H, W) uint8, their argmax; the grid covers it from border to border.
        classes: ids that are traced.
        min_area: parts (without their holes) and holes of fewer pixels than this are dropped.
    """
    cells = np.array(grid.shape[1::-1]) - 1
    per_cell = np.array(mask.shape[::-1]) / cells
    own = np.empty(mask.shape, bool)
    for i in classes:
        x, y, width, height = cv2.boundingRect(np.equal(mask, i, out=own).view(np.uint8))
        if width:
            # One cell more on every side, where other classes win.
            first = np.maximum(np.floor((x, y) / per_cell).astype(int) - 1, 0)
            last = np.minimum(np.ceil((x + width, y + height) / per_cell).astype(int) + 1, cells)
            halvings = int(np.log2(SAMPLES / max(last - first)).clip(0, MOST_HALVINGS))
            box = np.s_[first[1] : last[1] + 1, first[0] : last[0] + 1]
            left, top = (first * per_cell).astype(int).tolist()
            right, bottom = np.ceil(last * per_cell).astype(int).tolist()
            shares = cv2.calcHist([mask[top:bottom, left:right]], [0], None, [NUM_CLASSES], [0, NUM_CLASSES])
            rivals = np.flatnonzero(shares)
            margin = _margin(grid[box], i, [k for k in rivals.tolist() if k != i], halvings)
            for part in _parts(margin, BEYOND):
                # A line to beyond the border ends a little outside of it.
                inside = [(first + curve / 2**halvings).clip(0, cells) for curve in part]
                yield from _large(i, [curve * per_cell - 0.5 for curve in inside], min_area)


def mask_loops(mask: UInt8Array, classes: range, min_area: float) -> Iterator[Loop]:
    """Yield the outlines of the parts of every class of a mask (H, W) uint8, and those of their holes."""
    loops: list[Loop] = []
    for i in classes:
        own = (mask == i).view(np.uint8)
        x, y, width, height = cv2.boundingRect(own)
        if width:
            margin = np.where(own[y : y + height, x : x + width], 1.0, -1.0)
            for part in _parts(margin, -1.0):
                loops.extend(_large(i, [curve + np.array([x, y]) for curve in part], min_area))
    for loop, curve in zip(loops, smoothed([loop.curve for loop in loops], SMOOTHING), strict=True):
        yield loop._replace(curve=curve)


def _margin(grid: Scores, own: int, rivals: Sequence[int], halvings: int) -> Scores:
    """Return the score of class `own` less the highest of its rivals', on a grid whose cells are halved."""
    scores = np.moveaxis(grid, 2, 0)[[own, *rivals]]
    for _ in range(halvings):
        scores = halfway(halfway(scores, 1), 2)
    margin: Scores = np.subtract(scores[0], scores[1:].max(0, initial=BEYOND))
    return margin


def _parts(margin: npt.NDArray[np.floating], beyond: float) -> Iterator[list[Curve]]:
    """Yield the zero levels around each part of a margin that is `beyond` all around: the outer, then its holes'."""
    framed = np.pad(margin.astype(np.float64), 1, constant_values=beyond)
    generator = contour_generator(z=framed, fill_type=FillType.OuterOffset)
    for points, offsets in zip(*generator.filled(0, np.inf), strict=True):
        # Each repeats its first point at its end. The frame has moved all by a sample.
        yield [points[start : end - 1] - 1 for start, end in pairwise(offsets.tolist())]


def _large(class_id: int, part: list[Curve], min_area: float) -> Iterator[Loop]:
    """Yield what is large enough of a part's outline and its holes'."""
    outer, *holes = (abs(signed_area(curve)) for curve in part)
    if outer - sum(holes) >= min_area:
        for i, (curve, area) in enumerate(zip(part, [outer, *holes], strict=True)):
            if i == 0 or area >= min_area:
                yield Loop(class_id, curve, hole=i > 0)

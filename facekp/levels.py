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

from facekp.curves import SMOOTHING, Curve, Loop, signed_area, smoothed
from facekp.images import UInt8Array
from facekp.upsample import Scores, halfway

# The margin beyond the image's border: so low that the zero level between it and any score lies on the border.
BEYOND = -1e9


def level_loops(grid: Scores, size: tuple[int, int], classes: Sequence[int], min_area: float) -> Iterator[Loop]:
    """Yield the outlines of the parts of every class but background, and those of their holes, from scores.

    Args:
        grid: (2h + 1, 2w + 1, C) float32, what `facekp.upsample.sum_on_grid` gives.
        size: (H, W) of the image that the grid covers from border to border; outlines are in its pixels.
        classes: the ids that win somewhere, background among them; the others' scores are not looked at.
        min_area: parts (without their holes) and holes of fewer pixels than this are dropped.
    """
    # Twice as fine as the grid: a level line is drawn straight between samples, and bilinear scores are not.
    scores = halfway(halfway(grid.transpose(2, 0, 1)[list(classes)], 1), 2)
    best, second = _best_two(scores)
    samples = np.array(best.shape[::-1]) - 1
    per_sample = np.array(size[::-1]) / samples
    for class_id, own in zip(classes, scores, strict=True):
        wins = own >= best
        x, y, width, height = cv2.boundingRect(wins.view(np.uint8)) if class_id else (0, 0, 0, 0)
        if width:
            # One sample more on every side, where another class wins; beyond the border none is needed.
            left, top = max(x - 1, 0), max(y - 1, 0)
            box = np.s_[top : y + height + 1, left : x + width + 1]
            margin = own[box] - np.where(wins[box], second[box], best[box])
            for part in _parts(margin, BEYOND, (left, top)):
                curves = [curve.clip(0, samples) * per_sample - 0.5 for curve in part]
                yield from _large(class_id, curves, min_area)


def mask_loops(mask: UInt8Array, classes: range, min_area: float) -> Iterator[Loop]:
    """Yield the outlines of the parts of every class of a mask (H, W) uint8, and those of their holes."""
    loops: list[Loop] = []
    for i in classes:
        own = (mask == i).view(np.uint8)
        x, y, width, height = cv2.boundingRect(own)
        if width:
            margin = np.where(own[y : y + height, x : x + width], 1.0, -1.0)
            for part in _parts(margin, -1.0, (x, y)):
                loops.extend(_large(i, part, min_area))
    for loop, curve in zip(loops, smoothed([loop.curve for loop in loops], SMOOTHING), strict=True):
        yield loop._replace(curve=curve)


def _best_two(scores: Scores) -> tuple[Scores, Scores]:
    """Return the highest and the second highest of scores (C, H, W) at every place, (H, W) each."""
    best, second = scores[0].copy(), np.full(scores.shape[1:], BEYOND, np.float32)
    lower = np.empty_like(best)
    for own in scores[1:]:
        np.minimum(best, own, out=lower)
        np.maximum(second, lower, out=second)
        np.maximum(best, own, out=best)
    return best, second


def _parts(margin: npt.NDArray[np.floating], beyond: float, origin: tuple[int, int]) -> Iterator[list[Curve]]:
    """Yield the zero levels around each part of a margin (h, w): the outer one, then those of its holes.

    Args:
        margin: a box of all samples.
        beyond: the margin all around the box.
        origin: x and y of the box's first sample, which the curves are moved by.
    """
    framed = np.pad(margin.astype(np.float64), 1, constant_values=beyond)
    generator = contour_generator(z=framed, fill_type=FillType.OuterOffset)
    for points, offsets in zip(*generator.filled(0, np.inf), strict=True):
        points += np.array(origin) - 1
        # Each curve repeats its first point at its end.
        yield [points[start : end - 1] for start, end in pairwise(offsets.tolist())]


def _large(class_id: int, part: list[Curve], min_area: float) -> Iterator[Loop]:
    """Yield what is large enough of a part's outline and its holes'."""
    outer, *holes = (abs(signed_area(curve)) for curve in part)
    if outer - sum(holes) >= min_area:
        for i, (curve, area) in enumerate(zip(part, [outer, *holes], strict=True)):
            if i == 0 or area >= min_area:
                yield Loop(class_id, curve, hole=i > 0)

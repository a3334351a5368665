"""Outlines as level lines: where an attribute's score overtakes all others, between pixels.

The margin of a class is its score minus the highest other score. It is positive where the class wins, and its zero
level, found by marching squares, is the outline. In a mask without scores the margin is 1 inside and -1 outside.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from contourpy import FillType, LineType, SerialContourGenerator, ZInterp

from facekp.images import UInt8Array
from facekp.keypoints.curves import Curve, Loop, overhang, signed_area, smoothed
from facekp.keypoints.score_grid import ScoreGrid, Scores

BEYOND = -1e9
"""Margin outside the image, low enough that the zero level between it and any score lies on the border."""
SAMPLES, MAX_HALVINGS = 128, 3
"""Level lines are straight between samples, but bilinear scores are not. So the cells of small attributes are halved
while the longer side of their box has at most this many samples."""
MASK_SMOOTHING = 1.2
"""Standard deviation in pixels of the Gaussian along the level lines of a mask: the smallest that keeps them within
half a pixel of ellipses, which is the error of the mask itself. A wider one rounds corners."""

ROWS: Final = 64
"""Rows of a mask that are looked at together."""
GENERATOR: Final[dict[str, Any]] = {
    "mask": None, "line_type": LineType.Separate, "fill_type": FillType.OuterOffset, "z_interp": ZInterp.Linear,
    "corner_mask": False, "quad_as_tri": False,
}  # fmt: skip


def level_loops(grid: ScoreGrid, mask: UInt8Array, classes: range, min_area: float) -> Iterator[Loop]:
    """Yield the outlines of the parts and holes of every class from scores; see `outlines.trace` for the arguments."""
    ids, boxes = _boxes(mask, classes)
    cells, beyond = np.array(grid.cells[::-1]), grid.beyond
    per_cell = np.array(mask.shape[::-1]) / cells
    # One more cell on every side, where other classes win.
    first = np.maximum(np.floor(boxes[:, :2] / per_cell + beyond).astype(int) - 1, 0)
    last = np.minimum(np.ceil(boxes[:, 2:] / per_cell + beyond).astype(int) + 1, cells + round(2 * beyond))
    finer = 2 ** np.log2(SAMPLES / (last - first).max(1, initial=1)).clip(0, MAX_HALVINGS).astype(int)
    meets = ((first[:, None] < last) & (first < last[:, None])).all(2)  # only neighbours and background are rivals
    planes = np.moveaxis(grid.points, 2, 0)[[0, *ids]]
    # From samples to pixels; a line that leaves the image ends slightly outside its border.
    scale, shift, ends = per_cell / finer[:, None], (first - beyond) * per_cell - 0.5, cells * per_cell - 0.5
    margins: list[Scores] = []
    for k, ((left, top), (right, bottom)) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        others = np.flatnonzero(meets[k] & (np.arange(len(ids)) != k)) + 1
        margins.append(_margin(planes[[k + 1, 0, *others], top : bottom + 1, left : right + 1], int(finer[k])))
    for k, part in _parts(margins, BEYOND):
        curves = [np.minimum(np.maximum(curve * scale[k] + shift[k], -0.5), ends) for curve in part]
        yield from _large(ids[k], curves, min_area)


def mask_loops(mask: UInt8Array, classes: range, min_area: float) -> Iterator[Loop]:
    """Yield the outlines of the parts and holes of every class of a mask (H, W) uint8."""
    ids, boxes = _boxes(mask, classes)
    margins, starts = [], []
    for i, (left, top, right, bottom) in zip(ids, boxes.tolist(), strict=True):
        more = overhang((left, top, right - left, bottom - top), mask.shape)
        own = (mask[top:bottom, left:right] == i).view(np.uint8)
        margins.append(cv2.copyMakeBorder(own, *more, cv2.BORDER_REPLICATE) * 2.0 - 1)
        starts.append((left - more[2], top - more[0]))
    loops: list[Loop] = []
    for k, part in _parts(margins, -1.0):
        loops.extend(_large(ids[k], [curve + starts[k] for curve in part], min_area))
    limits = dict(zip(ids, boxes - 0.5, strict=True))
    for loop, curve in zip(loops, smoothed([loop.curve for loop in loops], MASK_SMOOTHING), strict=True):
        # The overhang, and sharp corners that smoothing overshoots, lie outside the box.
        yield loop._replace(curve=curve.clip(limits[loop.class_id][:2], limits[loop.class_id][2:]))


def _boxes(mask: UInt8Array, classes: range) -> tuple[list[int], npt.NDArray[np.intp]]:
    """Return the k classes in a mask, and their boxes (k, 4): left, top, right and bottom, the last two exclusive."""
    # One bit per class, so that the mask is read once for all classes; a few rows at a time, which stay in cache.
    table = 1 << np.arange(256, dtype=np.int32) % 32
    bits = (cv2.LUT(mask[start : start + ROWS], table) for start in range(0, len(mask), ROWS))
    columns, rows = zip(*((np.bitwise_or.reduce(some, 0), np.bitwise_or.reduce(some, 1)) for some in bits), strict=True)
    seen = np.bitwise_or.reduce(columns, 0), np.concatenate(rows)
    across, down = (own >> np.array(classes)[:, None] & 1 for own in seen)
    found = np.flatnonzero(across.any(1))
    across, down = across[found], down[found]
    right, bottom = (there.shape[1] - there[:, ::-1].argmax(1) for there in (across, down))
    return [classes[k] for k in found], np.stack([across.argmax(1), down.argmax(1), right, bottom], 1)


def _margin(scores: Scores, finer: int) -> Scores:
    """Return the first of `scores` (n, h, w) minus the highest of the others, sampled `finer` times as densely."""
    if finer > 1:
        scores = np.asarray(_weights(scores.shape[1], finer) @ scores @ _weights(scores.shape[2], finer).T, np.float32)
    margin: Scores = scores[0] - scores[1:].max(0)
    return margin


@lru_cache
def _weights(count: int, finer: int) -> Scores:
    """Return the weights (finer * (count - 1) + 1, count) that interpolate between samples linearly."""
    at = np.arange(finer * (count - 1) + 1, dtype=np.float32)[:, None] / finer
    return np.maximum(0, 1 - abs(at - np.arange(count, dtype=np.float32)))


def _parts(margins: Sequence[npt.NDArray[np.generic]], beyond: float) -> Iterator[tuple[int, list[Curve]]]:
    """Yield the zero levels of margins that are surrounded by the value `beyond`, one part at a time.

    A part is the index of its margin, and the curves around it: the outer one, then those of its holes.
    """
    for k, margin in enumerate(margins):
        framed = np.full((margin.shape[0] + 2, margin.shape[1] + 2), beyond)
        framed[1:-1, 1:-1] = margin
        x, y = np.empty_like(framed), np.empty_like(framed)
        x[:], y.T[:] = (np.arange(-1, count - 1) for count in framed.shape[::-1])
        # The class itself: contourpy's `contour_generator` takes longer to check its arguments than to find the lines.
        generator = SerialContourGenerator(x, y, framed, **GENERATOR)
        for points, offsets in zip(*generator.filled(0, np.inf), strict=True):
            # Each curve repeats its first point at its end.
            yield k, [points[start : end - 1] for start, end in pairwise(offsets.tolist())]


def _large(class_id: int, part: list[Curve], min_area: float) -> Iterator[Loop]:
    """Yield the outlines of a part and of its holes, if large enough."""
    outer, *holes = (abs(signed_area(curve)) for curve in part)
    if outer - sum(holes) >= min_area:
        for i, (curve, area) in enumerate(zip(part, [outer, *holes], strict=True)):
            if i == 0 or area >= min_area:
                yield Loop(class_id, curve, hole=i > 0)

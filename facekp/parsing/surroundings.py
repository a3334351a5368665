"""The surroundings of a face: hair, hats, earrings, neck, necklaces and clothes beyond the aligned crop.

The network sees each face in its aligned crop, which decides about everything within, in a larger crop around it, which
continues the attributes that reach beyond, and, where the edge of that cuts them, in a far one. Score grids are blended
along the inner crop's edge.
"""

import math
from dataclasses import replace
from typing import Final, NamedTuple

import cv2
import numpy as np

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.keypoints.score_grid import ScoreGrid
from facekp.parsing.face_crop import Crop


class Look(NamedTuple):
    """How far and how finely the network looks around a face.

    Attributes:
        above: how far the crop reaches beyond the aligned one at most, in units of its side.
        beside: the same to the left and to the right.
        below: the same below.
        share: size at which the crop is parsed, as a share of the usual one.
        doubt: added to the background's scores.
    """

    above: float
    beside: float
    below: float
    share: float
    doubt: float = 0


NEAR: Final = Look(0.375, 0.5, 0.625, share=0.875)
"""The larger crop. At this size it is as accurate as at the full one, and a fifth faster."""
FAR: Final = Look(0.75, 1.0, 2.0, share=0.625, doubt=0.5)
"""The far crop, where the larger one's edge cuts something: up to the top of a hat, and down to the waist. Its size and
doubt were chosen by eye on four photos; without doubt, parts of a table and a flag became clothes."""
LOOKS: Final = NEAR, FAR
LEAST: Final = 0.125
"""How far it reaches at least."""
STEPS: Final = 8
"""These are multiples of 1/8, so that the points of both grids coincide: an aligned crop has a multiple of 8 cells."""
BLENDED: Final = 0.08
"""Width of the zone along the aligned crop's edge in which the scores are blended, as a share of its side."""
REACHING: Final = ("hair", "hat", "ear_r", "neck_l", "neck", "cloth")
"""Parts that may reach beyond the aligned crop."""
NEVER: Final = 1e4
"""Subtracted from scores of classes that cannot win."""


def around(crop: Crop, size: tuple[int, int], look: Look = NEAR, inner: Crop | None = None) -> Crop:
    """Return a larger crop around an aligned one, and around its `inner` larger crop.

    It is the smallest square that shows all of a photo (H, W) that the look reaches.
    """
    photo = (np.array([0, size[1], complex(size[1], size[0]), size[0] * 1j]) - crop.origin) / crop.edge
    seen = ((inner or crop).corners() - crop.origin) / crop.edge
    least = max(LEAST, -seen.imag.min()), max(LEAST, -seen.real.min()), max(LEAST, seen.imag.max() - 1)
    shown = -photo.imag.min(), max(-photo.real.min(), photo.real.max() - 1), photo.imag.max() - 1
    above, beside, below = (min(most, max(pair)) for most, *pair in zip(look[:3], least, shown, strict=True))
    above = _in_steps(above)
    beside = _in_steps(max(beside, (above + below) / 2))
    return Crop(crop.at(complex(-beside, -above)), (1 + 2 * beside) * crop.edge)


def _in_steps(reach: float) -> float:
    """Round up to a step, unless it is one but for rounding errors."""
    return math.ceil(round(reach * STEPS, 6)) / STEPS


def is_cut(wide: ScoreGrid, larger: Crop, size: tuple[int, int], classes: Classes = CELEBAMASK_HQ) -> bool:
    """Return whether the edge of a larger crop cuts attributes that may go on in a photo (H, W)."""
    at = (np.arange(len(wide.points)) - wide.beyond) / wide.cells[0]
    places = larger.origin + larger.edge * (at + 1j * at[:, None])
    shown = (places.real > 0) & (places.real < size[1]) & (places.imag > 0) & (places.imag < size[0])
    shown[1:-1, 1:-1] = False
    return bool(np.isin(wide.points[shown].argmax(1), classes.ids(*REACHING)).any())


def join(
    fine: ScoreGrid,
    wide: ScoreGrid,
    crop: Crop,
    larger: Crop,
    classes: Classes = CELEBAMASK_HQ,
    *,
    doubt: float = 0,
) -> ScoreGrid:
    """Join the grids of an aligned crop and of the larger crop around it.

    Args:
        fine: from `score_grid.sum_on_grid`, or already joined.
        wide: the same of the larger crop, by the same network.
        crop: the aligned crop, or that of the joined grid.
        larger: the larger crop, from `around`.
        classes: those of the scores.
        doubt: added to the background's scores in the larger crop.

    Returns:
        A grid of the larger crop as fine as the aligned crop's. Within the aligned crop, except in the blended zone, it
        is the aligned crop's. Beyond, only classes that show `REACHING` win.
    """
    own, cells = len(fine.points), fine.cells[0]
    more, inside = round((larger.side / crop.side - 1) * cells), _place(crop, larger, cells, own)
    joined = _sampled(_sampled(wide, own + more, 0), own + more, 1).points
    joined[..., 0] += doubt
    # Weight of the aligned crop: 0 at its edge, 1 where the blended zone ends.
    depth = (np.minimum(np.arange(own), np.arange(own)[::-1]) - fine.beyond) / (BLENDED * cells)
    weight = np.minimum(depth, depth[:, None]).clip(0, 1)[..., None].astype(np.float32)
    inner = np.isin(np.arange(len(classes)), (0, *classes.ids(*REACHING)), invert=True)
    part = joined[inside] + weight * (fine.points - joined[inside])
    # Parts of the face win along the edge only where both crops show them.
    np.minimum(part, fine.points, out=part, where=inner)
    joined -= NEVER * inner.astype(np.float32)
    joined[inside] = part
    return replace(fine, points=joined)


def drop_strays(grid: ScoreGrid, crop: Crop, larger: Crop, classes: Classes = CELEBAMASK_HQ) -> None:
    """Let other classes win in parts that lie wholly beyond the aligned crop, such as other people's clothes.

    Clothes belong to the face if any of its attributes leads to them, the others if they reach into the aligned crop.
    `grid` is the larger crop's, joined, and is changed.
    """
    reaching, clothes = classes.ids(*REACHING), classes.ids("cloth")
    cells = round(grid.cells[0] * crop.side / larger.side)
    inside = _place(crop, larger, cells, len(grid.points) - grid.cells[0] + cells)
    for _ in range(2):  # once more, for the classes that win in place of the dropped ones
        dropped = np.zeros(grid.winners.shape, bool)
        for i in reaching:
            if not (grid.winners == i).any():
                continue
            own = grid.winners > 0 if i in clothes else grid.winners == i
            count, parts = cv2.connectedComponents(own.view(np.uint8), connectivity=4)
            stray = np.ones(count, bool)
            stray[0] = stray[parts[inside]] = False
            if stray.any():
                strays = stray[parts]
                grid.points[strays, i] -= NEVER
                dropped |= strays
        if not dropped.any():
            break
        grid.winners[dropped] = grid.points[dropped].argmax(1)


def _place(crop: Crop, larger: Crop, cells: int, points: int) -> tuple[slice, slice]:
    """Return the rows and columns of a larger crop's grid that a crop of so many cells and points takes up."""
    start = (crop.origin - larger.origin) / crop.edge * cells
    row, column = round(start.imag), round(start.real)
    return slice(row, row + points), slice(column, column + points)


def _sampled(grid: ScoreGrid, count: int, axis: int) -> ScoreGrid:
    """Return `count` points along an axis, interpolated between the given ones, over the same image."""
    cells = count - 1 - 2 * grid.beyond
    places = (np.arange(count) - grid.beyond) * (grid.cells[axis] / cells) + grid.beyond
    low = places.astype(int).clip(0, grid.points.shape[axis] - 2)
    first, between = grid.points.take(low, axis), grid.points.take(low + 1, axis)
    between -= first
    between *= np.expand_dims((places - low).astype(np.float32), (2, 1 - axis))
    between += first
    return replace(grid, points=between)

"""The surroundings of a face: hair, hats, earrings, neck, necklaces and clothes beyond the aligned crop.

The network sees each face in its aligned crop, which decides about everything within, and in a larger crop around it,
which continues the attributes that reach beyond. Both score grids are blended along the aligned crop's edge.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.keypoints.score_grid import ScoreGrid
from facekp.parsing.face_crop import Crop

WIDER: Final = 1.75
"""Side of the larger crop, in units of the aligned crop's."""
BLENDED: Final = 0.08
"""Width of the zone along the aligned crop's edge in which the scores are blended, as a share of its side."""
REACHING: Final = ("hair", "hat", "ear_r", "neck_l", "neck", "cloth")
"""Parts that may reach beyond the aligned crop."""
NEVER: Final = 1e4
"""Subtracted from scores of classes that cannot win."""


def around(crop: Crop) -> Crop:
    """Return the larger crop around an aligned one."""
    return Crop.around(crop.middle, WIDER * crop.edge)


def join(fine: ScoreGrid, wide: ScoreGrid, classes: Classes = CELEBAMASK_HQ) -> ScoreGrid:
    """Join the grids of an aligned crop and of the larger crop around it.

    Args:
        fine: from `score_grid.sum_on_grid`.
        wide: the same of the larger crop, by the same network.
        classes: those of the scores.

    Returns:
        A grid of the larger crop as fine as the aligned crop's. Within the aligned crop, except in the blended zone, it
        is the aligned crop's. Beyond, only classes that show `REACHING` win, and only in parts that touch that crop.
    """
    own, cells = len(fine.points), fine.cells[0]
    margin = round((WIDER - 1) / 2 * cells)
    joined = _sampled(_sampled(wide, own + 2 * margin, 0), own + 2 * margin, 1).points
    inside = slice(margin, margin + own)
    # Weight of the aligned crop: 0 at its edge, 1 where the blended zone ends.
    depth = (np.minimum(np.arange(own), np.arange(own)[::-1]) - fine.beyond) / (BLENDED * cells)
    weight = np.minimum(depth, depth[:, None]).clip(0, 1)[..., None].astype(np.float32)
    reaching = classes.ids(*REACHING)
    inner = np.isin(np.arange(len(classes)), (0, *reaching), invert=True)
    part = joined[inside, inside] + weight * (fine.points - joined[inside, inside])
    # Parts of the face win along the edge only where both crops show them.
    np.minimum(part, fine.points, out=part, where=inner)
    joined -= NEVER * inner.astype(np.float32)
    joined[inside, inside] = part
    grid = replace(fine, points=joined)
    _drop_strays(grid, inside, reaching, classes.ids("cloth"))
    return grid


def _drop_strays(grid: ScoreGrid, inside: slice, reaching: Sequence[int], clothes: Sequence[int]) -> None:
    """Let other classes win in parts that lie wholly beyond the aligned crop, such as other people's clothes.

    Clothes belong to the face if any of its attributes leads to them, the others if they reach into the aligned crop.
    """
    for _ in range(2):  # once more, for the classes that win in place of the dropped ones
        dropped = np.zeros(grid.winners.shape, bool)
        for i in reaching:
            own = grid.winners > 0 if i in clothes else grid.winners == i
            count, parts = cv2.connectedComponents(own.view(np.uint8), connectivity=4)
            stray = np.ones(count, bool)
            stray[0] = stray[parts[inside, inside]] = False
            if stray.any():
                strays = stray[parts]
                grid.points[strays, i] -= NEVER
                dropped |= strays
        if not dropped.any():
            break
        grid.winners[dropped] = grid.points[dropped].argmax(1)


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

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
from facekp.keypoints.score_grid import ScoreGrid, Scores
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
    inner = [i for i in range(1, len(classes)) if i not in reaching]
    part = joined[inside, inside]
    part += weight * (fine.points - part)
    # Parts of the face win along the edge only where both crops show them.
    part[..., inner] = np.minimum(part[..., inner], fine.points[..., inner])
    outside = np.full((*joined.shape[:2], 1), np.float32(NEVER))
    outside[inside, inside] = 0
    joined[..., inner] -= outside
    _drop_strays(joined, inside, reaching, classes.ids("cloth"))
    return replace(fine, points=joined)


def _drop_strays(grid: Scores, inside: slice, reaching: Sequence[int], clothes: Sequence[int]) -> None:
    """Let other classes win in parts that lie wholly beyond the aligned crop, such as other people's clothes.

    Clothes belong to the face if any of its attributes leads to them, the others if they reach into the aligned crop.
    """
    for _ in range(2):  # once more, for the classes that win in place of the dropped ones
        winner = grid.argmax(2)
        for i in reaching:
            own = winner > 0 if i in clothes else winner == i
            _, parts = cv2.connectedComponents(own.view(np.uint8), connectivity=4)
            strays = own & ~np.isin(parts, np.unique(parts[inside, inside]))
            grid[strays, i] -= NEVER


def _sampled(grid: ScoreGrid, count: int, axis: int) -> ScoreGrid:
    """Return `count` points along an axis, interpolated between the given ones, over the same image."""
    scores = np.moveaxis(grid.points, axis, 0)
    cells = count - 1 - 2 * grid.beyond
    places = (np.arange(count) - grid.beyond) * (grid.cells[axis] / cells) + grid.beyond
    low = places.astype(int).clip(0, len(scores) - 2)
    share = (places - low).astype(np.float32).reshape(-1, 1, 1)
    between = scores[low] + share * (scores[low + 1] - scores[low])
    return replace(grid, points=np.moveaxis(between, 0, axis))

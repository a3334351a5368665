"""Outlines of every attribute: ordered closed contours, traced in a mask or in the scores behind it."""

from facekp.errors import require
from facekp.images import UInt8Array
from facekp.keypoints.canny import edge_loops
from facekp.keypoints.contour import Contour
from facekp.keypoints.level_lines import level_loops, mask_loops
from facekp.keypoints.score_grid import ScoreGrid
from facekp.keypoints.settings import METHODS


def trace(
    mask: UInt8Array, *, method: str, min_area: float = 0.0, grid: ScoreGrid | None = None, count: int = 19
) -> dict[int, list[Contour]]:
    """Return the outlines of every class but background, by id: parts before holes, each from large to small.

    Args:
        mask: (H, W) uint8, class ids below C.
        method: "canny", the paper's method: edges of the mask. "contour": lines where the class's score overtakes all
            others; without scores, the lines between the mask's pixels.
        min_area: parts (without their holes) and holes with fewer pixels are dropped.
        grid: the scores whose argmax is the mask (`score_grid.sum_on_grid`). Canny does not use it.
        count: C, the number of classes.

    Raises:
        ConfigError: unknown method.
    """
    require("method", method, method in METHODS, f"choose one of {', '.join(METHODS)}")
    classes, size = range(1, count), (mask.shape[0], mask.shape[1])
    if method == "canny":
        loops = list(edge_loops(mask, classes, min_area))
    elif grid is None:
        loops = list(mask_loops(mask, classes, min_area))
    else:
        loops = list(level_loops(grid, mask, classes, min_area))
    contours: dict[int, list[Contour]] = {}
    for loop, contour in zip(loops, Contour.from_loops(loops, size), strict=True):
        contours.setdefault(loop.class_id, []).append(contour)
    return {i: sorted(contours[i], key=lambda c: (c.hole, -c.area)) for i in sorted(contours)}

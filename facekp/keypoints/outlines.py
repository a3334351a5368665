"""From a mask, or the scores behind it, to ordered outlines of every attribute: closed curves, by either method."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from facekp.classes import NUM_CLASSES
from facekp.images import UInt8Array
from facekp.keypoints.canny import edge_loops
from facekp.keypoints.curves import Curve, Flags, Loop, Points, anchored, on_border, signed_area
from facekp.keypoints.level_lines import level_loops, mask_loops
from facekp.keypoints.score_grid import Scores

__all__ = ["METHODS", "Contour", "Points", "trace", "trace_all"]

METHODS: Final = ("canny", "contour")


@dataclass(frozen=True)
class Contour:
    """A closed outline of one connected part of a mask, or of a hole in it.

    Attributes:
        points: (m, 2) float32 pixels, in order; the last is followed by the first. Clockwise as seen in the image,
            counter-clockwise for a hole. It starts at the anchor, see `curves.anchored`; where that lies on the
            image's border, at the next point clockwise that does not.
        area: pixels enclosed.
        hole: whether it bounds a hole.
        cut: (m,) bool: whether the piece from each point to the next runs along the border of the image, or of the part
            of it that was parsed. There the picture ends, not the attribute.
    """

    points: Points
    area: float
    hole: bool
    cut: Flags

    def moved(self, matrix: npt.NDArray[np.floating], size: tuple[int, int]) -> "Contour":
        """Return the outline in the photo that its image is a crop of; what lies beyond the photo's border is cut off.

        It keeps its start, so a face that is tilted has its key points where one that is upright has them.

        Args:
            matrix: (2, 3) float, from pixels of the crop to those of the photo: turned, enlarged and shifted, but not
                mirrored.
            size: (H, W) of the photo.

        Returns:
            An outline in pixels of the photo. Its area is 0 where all of it lies beyond.

        Example:
            A crop whose first pixel is (x, y) = (-10, 50) in the photo, half of it beyond the photo's left border.

            >>> mask = np.zeros((20, 20), bool)
            >>> mask[5:15, 5:15] = True
            >>> (outline,) = trace(mask, method="contour")
            >>> part = outline.moved(np.array([[1, 0, -10], [0, 1, 50]]), (100, 200))
            >>> part.points.min(0).tolist(), part.points.max(0).tolist(), round(part.area / outline.area, 2)
            ([-0.5, 54.5], [4.5, 64.5], 0.5)
        """
        height, width = size
        points = (self.points @ matrix[:, :2].T + matrix[:, 2]).clip(-0.5, (width - 0.5, height - 0.5))
        points, cut = _opened(points, self.cut | on_border(points, size))
        return Contour(points.astype(np.float32), abs(signed_area(points)), self.hole, cut)


def trace(mask: npt.NDArray[np.bool_], min_area: float = 0.0, method: str = "canny") -> list[Contour]:
    """Return the outlines of one mask (H, W) bool; see `trace_all`."""
    return trace_all(mask.view(np.uint8), min_area, method).get(1, [])


def trace_all(
    mask: UInt8Array, min_area: float = 0.0, method: str = "canny", grid: Scores | None = None
) -> dict[int, list[Contour]]:
    """Return the outlines of every class but background, in order: parts before holes, each large to small.

    Args:
        mask: (H, W) uint8, class ids below 19.
        min_area: parts (without their holes) and holes with fewer pixels than this are dropped.
        method: "canny", the paper's: the edges of the mask. "contour": the lines where the class's score overtakes all
            others; of a mask without scores, the lines between its pixels and others.
        grid: (2h + 1, 2w + 1, 19) float32, the scores whose argmax the mask is (`score_grid.sum_on_grid`); it
            covers the image from border to border. Canny does not look at it.

    Raises:
        ValueError: another method.
    """
    contours: dict[int, list[Contour]] = {}
    for loop in _loops(mask, min_area, method, grid):
        contours.setdefault(loop.class_id, []).append(_finished(loop, (mask.shape[0], mask.shape[1])))
    return {i: sorted(contours[i], key=lambda c: (c.hole, -c.area)) for i in sorted(contours)}


def _loops(mask: UInt8Array, min_area: float, method: str, grid: Scores | None) -> Iterator[Loop]:
    if method not in METHODS:
        raise ValueError(f"method is '{method}': choose one of {', '.join(METHODS)}")
    classes = range(1, NUM_CLASSES)
    if method == "canny":
        return edge_loops(mask, classes, min_area)
    return mask_loops(mask, classes, min_area) if grid is None else level_loops(grid, mask, classes, min_area)


def _finished(loop: Loop, size: tuple[int, int]) -> Contour:
    """Return a loop in an image of `size` (H, W) in its direction, from its start."""
    points, area = anchored(loop.curve)
    if loop.hole:  # the other way round, from the same anchor
        points = np.concatenate([points[:1], points[:0:-1]])
    points, cut = _opened(points, on_border(points, size))
    return Contour(points.astype(np.float32), area, loop.hole, cut)


def _opened(points: Curve, cut: Flags) -> tuple[Curve, Flags]:
    """Return a curve that starts where it leaves the border, if it started on it."""
    if not cut[0] or cut.all():
        return points, cut
    start = int(cut.argmin())
    return np.roll(points, -start, 0), np.roll(cut, -start)

"""From an attribute's mask to ordered outlines, and from an outline to a fixed number of key points.

The paper's way: Canny on the mask of one attribute; its edge pixels are the key points. Here they are also put in
order, brought to sub-pixel precision and resampled, so that point k lies at the same place in the next image.

Coordinates are (x, y) in pixels; the centre of the top left pixel is (0, 0).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from facekp.errors import ConfigError

Points = npt.NDArray[np.float32]
"""(n, 2) float32: x, y in pixels."""

# A mask is 0 or 255, so that every step's Sobel response is far above both thresholds.
CANNY_LOW, CANNY_HIGH = 100, 200
# Of the two pixels beside a vertical or horizontal step Canny keeps the upper left one, so the step itself lies half a
# pixel to the lower right. Enlarged masks have no other steps.
CANNY_OFFSET = 0.5
# Parts are enlarged to this length, and twofold at least unless the mask itself has been enlarged: a line of one pixel
# has an inside then.
ENLARGED_SIDE = 128
ENLARGE_ALL_BELOW = 1024
# Standard deviation along the curve, in pixels of the mask, that turns pixel stairs into a line.
SMOOTHING = 0.8


@dataclass
class KeypointConfig:
    """How key points are taken off a mask."""

    n: int = 32  # key points of each attribute
    min_area: float = 1e-4  # parts and holes smaller than this share of the image are dropped

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.n < 3:
            raise ConfigError(f"keypoints.n is {self.n}: give at least 3")
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"keypoints.min_area is {self.min_area}: give a share of the image in [0, 1)")


@dataclass(frozen=True)
class Contour:
    """A closed outline of one connected part of a mask, or of a hole in it.

    Attributes:
        points: (m, 2) float32 pixels, in order; the last is followed by the first. Clockwise as seen in the image,
            counter-clockwise for a hole. It starts at the anchor, see `anchored`.
        area: pixels enclosed.
        hole: whether it bounds a hole.
    """

    points: Points
    area: float
    hole: bool


def trace(mask: npt.NDArray[np.bool_], min_area: float = 0.0) -> list[Contour]:
    """Return the outlines of a mask by Canny, parts before holes, each from large to small.

    Args:
        mask: (H, W) bool.
        min_area: parts and holes with fewer pixels than this are dropped.

    Reference: Canny 1986; the edges are those of OpenCV's `Canny` (Sobel, non-maximum suppression, hysteresis).
    """
    contours = []
    for hole, inside in ((False, mask), (True, ~mask)):
        for region, corner in _regions(inside, min_area, enclosed=hole):
            points = anchored(_edge_loop(region, _enlargement(max(mask.shape), max(region.shape))) + corner)
            if hole:  # the other way round, from the same anchor
                points = np.roll(points[::-1], 1, axis=0)
            contours.append(Contour(points.astype(np.float32), abs(_signed_area(points)), hole))
    return sorted(contours, key=lambda c: (c.hole, -c.area))


def anchored(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn a closed curve clockwise and start it at its anchor.

    The anchor is where the curve crosses the vertical through its centroid for the topmost time. It moves smoothly
    with the shape, whereas the topmost point of a flat brow jumps from end to end.

    Args:
        points: (m, 2) float, a closed curve.

    Returns:
        (m + 1, 2) float: the anchor, then the curve's own points in clockwise order.
    """
    if _signed_area(points) < 0:
        points = points[::-1]
    centre = _centroid(points)
    following = np.roll(points, -1, axis=0)
    left, right = points[:, 0] - centre[0], following[:, 0] - centre[0]
    crossing = np.flatnonzero((left < 0) != (right < 0))
    if len(crossing) == 0:
        return np.concatenate([points[:1], points])
    share = (left / np.where(left == right, 1, left - right))[crossing]
    heights = points[crossing, 1] * (1 - share) + following[crossing, 1] * share
    first = int(np.argmin(heights))
    anchor = np.array([[centre[0], heights[first]]])
    return np.concatenate([anchor, np.roll(points, -(int(crossing[first]) + 1), axis=0)])


def resample(points: npt.NDArray[np.floating], n: int) -> Points:
    """Return `n` points spaced evenly by arc length along a closed curve, the first at its start.

    Args:
        points: (m, 2) float, a closed curve, m >= 1.
        n: number of points.

    Example:
        >>> square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], dtype=float)
        >>> resample(square, 8)[:4].tolist()
        [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]
    """
    closed = np.concatenate([points, points[:1]]).astype(np.float64)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.arange(n) * length[-1] / n
    return np.stack([np.interp(at, length, closed[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)


def _regions(
    mask: npt.NDArray[np.bool_], min_area: float, *, enclosed: bool
) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]]:
    """Yield each connected region, cut out, with the (x, y) of its cut; with `enclosed`, only those off the border."""
    # Parts touch across corners, so holes must not.
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4 if enclosed else 8)
    height, width = mask.shape
    for i in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[i])
        on_border = x == 0 or y == 0 or x + w == width or y + h == height
        if area < max(1.0, min_area) or (enclosed and on_border):
            continue
        yield labels[y : y + h, x : x + w] == i, np.array([x, y], dtype=np.float64)


def _edge_loop(region: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.float64]:
    """Return the outermost Canny edge of one region, enlarged `factor`-fold meanwhile, as a closed smooth curve."""
    framed = np.pad(region.astype(np.uint8) * 255, 1)
    large = cv2.resize(framed, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    edges = cv2.Canny(large, CANNY_LOW, CANNY_HIGH)
    # Non-maximum suppression leaves gaps at sharp corners, so that the edge alone is no closed curve. The edge with the
    # region inside it has the same outline and no gap.
    loops, _ = cv2.findContours(cv2.bitwise_or(edges, large), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    loop = max(loops, key=len)[:, 0].astype(np.float64)
    smooth = gaussian_filter1d(loop, SMOOTHING * factor, axis=0, mode="wrap")
    # Pixel centres are whole numbers in both frames, and the frame is one pixel wide.
    curve: npt.NDArray[np.float64] = (smooth + CANNY_OFFSET + 0.5) / factor - 0.5 - 1
    return curve


def _enlargement(mask_side: int, part_side: int) -> int:
    least = 2 if mask_side <= ENLARGE_ALL_BELOW else 1
    return max(least, math.ceil(ENLARGED_SIDE / part_side))


def _signed_area(points: npt.NDArray[np.floating]) -> float:
    """Return the area enclosed, positive when the curve runs clockwise in an image (y down)."""
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def _centroid(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the centroid of the curve, each piece weighted by its length."""
    following = np.roll(points, -1, axis=0)
    weights = np.linalg.norm(following - points, axis=1)
    if not weights.any():
        mean: npt.NDArray[np.float64] = points.mean(axis=0)
        return mean
    return np.average((points + following) / 2, axis=0, weights=weights)

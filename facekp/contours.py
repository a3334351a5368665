"""From a mask to ordered outlines: Canny's edges of every attribute, as closed curves.

The paper's way: Canny on the mask of one attribute; its edge pixels are the key points. Here they are also put in
order and brought to sub-pixel precision.

Coordinates are (x, y) in pixels; the centre of the top left pixel is (0, 0).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d, gaussian_filter1d

from facekp.attributes import NUM_CLASSES
from facekp.images import UInt8Array

Points = npt.NDArray[np.float32]
"""(n, 2) float32: x, y in pixels."""
Curve = npt.NDArray[np.float64]
"""(m, 2) float64, closed: the last point is followed by the first."""

# A mask is 0 or 255, so that every step's Sobel response is far above both thresholds.
CANNY_LOW, CANNY_HIGH = 100, 200
# Of the two pixels beside a vertical or horizontal step Canny keeps the upper left one, so the step itself lies half a
# pixel to the lower right. Enlarged masks have no other steps.
CANNY_OFFSET = 0.5
# Small attributes are enlarged twofold, so that a line of one pixel (a brow's end, a frame of glasses) has an inside.
ENLARGED_BELOW = 128
# Standard deviation along the curve, in pixels of the mask, of the Gaussian that turns pixel stairs into a line.
SMOOTHING = 0.8
# Of a smooth curve every second point of an enlarged mask says as much as all; short loops keep theirs.
SHORT_LOOP = 32


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


@dataclass(frozen=True)
class _Loop:
    """An outline as Canny leaves it, in pixels of the enlarged mask."""

    class_id: int
    factor: int  # how many times the mask was enlarged
    chain: npt.NDArray[np.int32]
    box: tuple[int, int, int, int]  # x, y, width and height of the class, in pixels of the mask
    hole: bool


def trace(mask: npt.NDArray[np.bool_], min_area: float = 0.0) -> list[Contour]:
    """Return the outlines of one mask (H, W) bool; see `trace_all`."""
    return trace_all(mask.view(np.uint8), min_area).get(1, [])


def trace_all(mask: UInt8Array, min_area: float = 0.0) -> dict[int, list[Contour]]:
    """Return the outlines of every class but background, in order, by Canny: parts before holes, each large to small.

    Args:
        mask: (H, W) uint8, class ids below 19.
        min_area: parts (without their holes) and holes with fewer pixels than this are dropped.

    Reference: Canny 1986; the edges are those of OpenCV's `Canny` (Sobel, non-maximum suppression, hysteresis).
    """
    # One array for all classes: getting a new one from the system costs ten times the comparison.
    own = np.empty(mask.shape, bool)
    loops = [loop for i in range(1, NUM_CLASSES) for loop in _loops(np.equal(mask, i, out=own), i, min_area)]
    contours: dict[int, list[Contour]] = {}
    for loop, smooth in _smoothed(loops):
        factor = loop.factor
        curve = smooth[:: factor if len(smooth) >= SHORT_LOOP else 1]
        # From the enlarged frame, one pixel wide, to borders of pixels; smoothing may overshoot sharp corners there.
        curve = ((curve + CANNY_OFFSET + 0.5) / factor - 1).clip(0, loop.box[2:]) - 0.5 + loop.box[:2]
        points, area = anchored(curve)
        if loop.hole:  # the other way round, from the same anchor
            points = np.concatenate([points[:1], points[:0:-1]])
        contours.setdefault(loop.class_id, []).append(Contour(points.astype(np.float32), area, loop.hole))
    return {i: sorted(contours[i], key=lambda c: (c.hole, -c.area)) for i in sorted(contours)}


def anchored(points: Curve) -> tuple[Curve, float]:
    """Turn a closed curve clockwise and start it at its anchor.

    The anchor is where the curve crosses the vertical through its centroid for the topmost time. It moves smoothly
    with the shape, whereas the topmost point of a flat brow jumps from end to end.

    Args:
        points: (m, 2) float, a closed curve.

    Returns:
        points: (m + 1, 2) float: the anchor, then the curve's own points in clockwise order.
        area: what it encloses.
    """
    area = _signed_area(points)
    if area < 0:
        points = points[::-1]
    following = np.concatenate([points[1:], points[:1]])
    centre = _centroid(points, following)
    right = points[:, 0] >= centre
    (crossing,) = (right != np.concatenate([right[1:], right[:1]])).nonzero()
    if len(crossing) == 0:
        return np.concatenate([points[:1], points]), abs(area)
    here, there = points[crossing], following[crossing]
    share = (centre - here[:, 0]) / (there[:, 0] - here[:, 0])
    heights = here[:, 1] + share * (there[:, 1] - here[:, 1])
    first = int(heights.argmin())
    after = int(crossing[first]) + 1
    anchor = np.array([[centre, heights[first]]])
    return np.concatenate([anchor, points[after:], points[:after]]), abs(area)


def _loops(mask: npt.NDArray[np.bool_], class_id: int, min_area: float) -> Iterator[_Loop]:
    """Yield the outlines of the parts of one class's mask (H, W), and those of their holes."""
    own = mask.view(np.uint8)
    x, y, width, height = cv2.boundingRect(own)
    if not width:
        return
    framed = cv2.copyMakeBorder(own[y : y + height, x : x + width] * np.uint8(255), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    factor = 2 if max(width, height) < ENLARGED_BELOW else 1
    large = cv2.resize(framed, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) if factor == 2 else framed
    edges = cv2.Canny(large, CANNY_LOW, CANNY_HIGH)
    if factor == 1:
        # Beside lines of one pixel and at some corners Canny marks a pixel to the lower right as well.
        edges = cv2.bitwise_and(edges, cv2.dilate(large, np.ones((2, 2), np.uint8), anchor=(0, 0)))
    # Non-maximum suppression leaves gaps at sharp corners, so that the edge alone is no closed curve. The edge with the
    # mask inside it has the same outline and no gap.
    chains, tree = cv2.findContours(cv2.bitwise_or(edges, large), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = tree[0, :, 3]
    enclosed = np.array([cv2.contourArea(chain) for chain in chains]) / factor**2
    holes = parents >= 0
    area = enclosed - np.bincount(parents[holes], enclosed[holes], minlength=len(chains))
    kept = area >= min_area
    kept[holes] &= kept[parents[holes]]
    for i in np.flatnonzero(kept):
        yield _Loop(class_id, factor, np.asarray(chains[int(i)][:, 0], np.int32), (x, y, width, height), bool(holes[i]))


def _smoothed(loops: Sequence[_Loop]) -> Iterator[tuple[_Loop, Curve]]:
    """Yield each loop with its chain smoothed; they are filtered together, as a call costs more than a chain."""
    for factor in (1, 2):
        own = [loop for loop in loops if loop.factor == factor]
        if not own:
            continue
        kernel = _kernel(SMOOTHING * factor)
        reach = len(kernel) // 2
        around = [piece for loop in own for piece in _wrapped(loop.chain, reach)]
        smooth = correlate1d(np.concatenate(around).T.astype(np.float64), kernel).T
        start = reach
        for loop in own:
            yield loop, smooth[start : start + len(loop.chain)]
            start += len(loop.chain) + 2 * reach


def _wrapped(chain: npt.NDArray[np.int32], reach: int) -> tuple[npt.NDArray[np.int32], ...]:
    """Return the pieces of a closed chain that goes on for `reach` points at both ends."""
    if len(chain) >= reach:
        return chain[len(chain) - reach :], chain, chain[:reach]
    return (chain.take(range(-reach, len(chain) + reach), axis=0, mode="wrap"),)


@lru_cache
def _kernel(sigma: float) -> npt.NDArray[np.float64]:
    """Return a Gaussian's weights with what it takes away, smoothed in turn, added back (Tukey's twicing).

    A Gaussian alone would shrink a circle of radius r by sigma^2 / 2r; so the error is of fourth order in sigma / r.
    """
    reach = int(4 * sigma)
    once = gaussian_filter1d(np.eye(1, 2 * reach + 1, reach)[0], sigma, mode="constant")
    twicing: npt.NDArray[np.float64] = 2 * np.pad(once, reach) - np.convolve(once, once)
    return twicing


def _signed_area(points: Curve) -> float:
    """Return the area enclosed, positive when the curve runs clockwise in an image (y down)."""
    x, y = points[:, 0], points[:, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def _centroid(points: Curve, following: Curve) -> float:
    """Return the x of the curve's centroid, each piece weighted by its length."""
    step = following - points
    weights = np.hypot(step[:, 0], step[:, 1])
    total = weights.sum()
    return float((points[:, 0] + following[:, 0]) @ weights / (2 * total)) if total else float(points[:, 0].mean())

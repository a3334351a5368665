"""Closed curves: smoothing, direction, first point, and the pieces on the image's border.

Coordinates are (x, y) in pixels; the centre of the top left pixel is (0, 0), so an image begins at -0.5.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
"""(n, 2) float32: x, y in pixels."""
Curve = npt.NDArray[np.float64]
"""(m, 2) float64, closed: the last point is followed by the first."""
Flags = npt.NDArray[np.bool_]

SMOOTHING = 0.8
"""Standard deviation along the curve, in pixels of the mask, of the Gaussian that smooths pixel staircases."""
OVERHANG = 3
"""Pixels by which parts that touch the image's border are extended before smoothing, which would round the cut."""
ON_BORDER = 0.01
"""Pixels; a piece nearer than this to the image's border lies on it, up to rounding."""
DECIMALS: Final = 2
"""Decimals of coordinates in pixels in files."""


class Loop(NamedTuple):
    """An outline as traced: in either direction, from any point."""

    class_id: int
    curve: Curve
    hole: bool


def smoothed(chains: Sequence[npt.NDArray[np.generic]], sigma: float) -> Iterator[Curve]:
    """Yield each closed chain (m, 2), smoothed along itself by a Gaussian of `sigma` points.

    Chains shorter than the filter are unchanged, as little would be left of them. The others are filtered together,
    because a call costs more than a chain.
    """
    if not chains:
        return
    from scipy.ndimage import correlate1d  # takes 0.3 s to import, before which settings are checked

    kernel = _kernel(sigma)
    reach = len(kernel) // 2
    around = [chain.take(np.arange(-reach, len(chain) + reach), axis=0, mode="wrap") for chain in chains]
    smooth = correlate1d(np.concatenate(around).T.astype(np.float64), kernel).T
    start = reach
    for chain in chains:
        yield smooth[start : start + len(chain)] if len(chain) > reach else chain.astype(np.float64)
        start += len(chain) + 2 * reach


@lru_cache
def _kernel(sigma: float) -> npt.NDArray[np.float64]:
    """Return the weights of a Gaussian, plus those of the Gaussian of its residual (Tukey's twicing).

    A Gaussian alone shrinks a circle of radius r by sigma^2 / 2r; twicing leaves an error of fourth order in sigma / r.
    """
    from scipy.ndimage import gaussian_filter1d

    reach = int(4 * sigma)
    once = gaussian_filter1d(np.eye(1, 2 * reach + 1, reach)[0], sigma, mode="constant")
    twicing: npt.NDArray[np.float64] = 2 * np.pad(once, reach) - np.convolve(once, once)
    return twicing


def anchored(points: Curve) -> tuple[Curve, float]:
    """Return a closed curve (m + 1, 2) that runs clockwise from the anchor of `points` (m, 2), and its enclosed area.

    The anchor is the topmost crossing of the curve with the vertical through its centroid. It moves smoothly with the
    shape, whereas the topmost point of a flat brow jumps from end to end.
    """
    area = signed_area(points)
    if area < 0:
        points = points[::-1]
    following = np.concatenate([points[1:], points[:1]])
    steps = following - points
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    total, x = lengths.sum(), points[:, 0]
    centre = float((x + following[:, 0]) @ lengths / (2 * total) if total else x.mean())  # weighted by length
    right = x >= centre
    (crossing,) = (right != np.concatenate([right[1:], right[:1]])).nonzero()
    if len(crossing) == 0:
        return np.concatenate([points[:1], points]), abs(area)
    here, there = points[crossing], following[crossing]
    share = (centre - here[:, 0]) / (there[:, 0] - here[:, 0])
    heights = here[:, 1] + share * (there[:, 1] - here[:, 1])
    first = int(heights.argmin())
    after = int(crossing[first]) + 1
    return np.concatenate([[[centre, heights[first]]], points[after:], points[:after]]), abs(area)


def signed_area(points: Curve) -> float:
    """Return the enclosed area, positive if the curve runs clockwise in an image (y down)."""
    x, y = points[:, 0], points[:, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def overhang(box: tuple[int, int, int, int], size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the pixels by which a part is extended beyond the image's border: above, below, left and right.

    `box` is the part's left, top, width and height, `size` the image's (H, W).

    Example:
        >>> overhang((0, 5, 10, 95), (100, 80))  # at the left border and the lower one
        (0, 3, 3, 0)
    """
    (x, y, width, height), more = box, OVERHANG
    return more * (y == 0), more * (y + height == size[0]), more * (x == 0), more * (x + width == size[1])


def on_border(points: Curve, size: tuple[int, int]) -> Flags:
    """Return (m,) bool: whether the piece from each point to the next runs along the image's border."""
    # Distances from the left, top, right and bottom border. Both ends of a piece must lie on the same one.
    away = np.concatenate([points, np.array([[size[1] - 1, size[0] - 1]]) - points], axis=1) + 0.5
    near = away < ON_BORDER
    return np.asarray((near & np.concatenate([near[1:], near[:1]])).any(1), np.bool_)


def rounded(points: Points) -> Curve:
    """Return points (m, 2) rounded to `DECIMALS`, as files store them."""
    # In float64, because the float32 0.1 would be written with all its digits.
    return points.astype(np.float64).round(DECIMALS)

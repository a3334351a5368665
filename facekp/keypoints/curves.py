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


def anchored(curves: Sequence[Curve]) -> Iterator[tuple[Curve, float]]:
    """Yield each closed curve (m, 2) as one (m + 1, 2) that runs clockwise from its anchor, and its enclosed area.

    The anchor is the topmost crossing of the curve with the vertical through its centroid. It moves smoothly with the
    shape, whereas the topmost point of a flat brow jumps from end to end. All curves are anchored together, because a
    call costs more than a curve.
    """
    if not curves:
        return
    counts = np.array([len(curve) for curve in curves])
    starts = counts.cumsum() - counts
    points = np.concatenate(curves)
    following = np.arange(1, len(points) + 1)
    following[starts + counts - 1] = starts
    (x, y), (next_x, next_y) = points.T, points[following].T
    areas = np.add.reduceat(x * next_y - next_x * y, starts) / 2
    lengths = np.hypot(next_x - x, next_y - y)
    totals, moments = np.add.reduceat(lengths, starts), np.add.reduceat((x + next_x) * lengths, starts)
    centres = np.where(totals > 0, moments / np.where(totals > 0, 2 * totals, 1), x[starts])  # weighted by length
    right = x >= centres.repeat(counts)
    crossing = (right != right[following]).nonzero()[0]
    curve_of = np.arange(len(curves)).repeat(counts)[crossing]
    share = (centres[curve_of] - x[crossing]) / (next_x[crossing] - x[crossing])
    heights = y[crossing] + share * (next_y[crossing] - y[crossing])
    # Of each curve's crossings, sorted by height, the first; a curve of a single place has none.
    order = np.lexsort((heights, curve_of))
    ends = curve_of[order].searchsorted(np.arange(len(curves) + 1))
    for k, (curve, area) in enumerate(zip(curves, areas.tolist(), strict=True)):
        top = order[ends[k]] if ends[k] < ends[k + 1] else None
        anchor, after = (curve[:1], 0) if top is None else ([[centres[k], heights[top]]], crossing[top] + 1 - starts[k])
        if area < 0:
            curve, after = curve[::-1], len(curve) - after
        yield np.concatenate([anchor, curve[after:], curve[:after]]), abs(area)


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
    if points.min() > ON_BORDER - 0.5 and points.max() < min(size) - 0.5 - ON_BORDER:  # most lie within
        return np.zeros(len(points), np.bool_)
    # Distances from the left, top, right and bottom border. Both ends of a piece must lie on the same one.
    away = np.concatenate([points, np.array([[size[1] - 1, size[0] - 1]]) - points], axis=1) + 0.5
    near = away < ON_BORDER
    return np.asarray((near & np.concatenate([near[1:], near[:1]])).any(1), np.bool_)


def rounded(points: Points) -> Curve:
    """Return points (m, 2) rounded to `DECIMALS`, as files store them."""
    # In float64, because the float32 0.1 would be written with all its digits.
    return points.astype(np.float64).round(DECIMALS)

"""Resampling an outline to a fixed number of key points."""

import numpy as np
import numpy.typing as npt

from facekp.keypoints.curves import Flags, Points


def resample(points: npt.NDArray[np.floating], n: int, cut: Flags | None = None) -> Points:
    """Return `n` points spaced evenly by arc length along a closed curve, the first at its start.

    Pieces on the image's border count as length 0: the points share the rest of the curve evenly. So no point lies on
    the border, and none jumps when a moving attribute reaches it. A point that would fall on such a piece is placed at
    its end.

    Args:
        points: (m, 2) float, a closed curve, m >= 1.
        n: number of points.
        cut: (m,) bool, the pieces on the border (see `Contour.cut`); ignored if all pieces are.

    Example:
        >>> square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], dtype=float)
        >>> resample(square, 8)[:4].tolist()
        [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]
        >>> resample(square, 4, np.array([False, False, True, False])).tolist()  # without its lower side
        [[0.0, 0.0], [1.5, 0.0], [2.0, 1.0], [0.0, 1.5]]
    """
    steps = np.concatenate([points[1:], points[:1]]) - points
    lengths = np.hypot(steps[:, 0], steps[:, 1], dtype=np.float64)
    if cut is not None and not cut.all():
        lengths[cut] = 0
    ends = lengths.cumsum()
    at = np.arange(n) * (ends[-1] / n)
    # The first piece that ends beyond; rounding must not put a point beyond the last.
    piece = np.minimum(ends.searchsorted(at, side="right"), len(ends) - 1)
    # A curve of length zero has all its key points at its start.
    share = (at - ends[piece]) / np.maximum(lengths[piece], 1e-12) + 1
    return np.asarray(points[piece] + share[:, None] * steps[piece], np.float32)

"""From an outline to a fixed number of key points."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.contours import METHODS, Points
from facekp.curves import Flags
from facekp.errors import ConfigError


@dataclass
class KeypointConfig:
    """How outlines and key points are found."""

    method: str = "canny"  # canny: edges of the masks; contour: lines where an attribute's score overtakes all others
    n: int = 32  # key points of each attribute
    min_area: float = 1e-4  # parts and holes smaller than this share of the image are dropped

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.method not in METHODS:
            raise ConfigError(f"keypoints.method is '{self.method}': choose one of {', '.join(METHODS)}")
        if self.n < 3:
            raise ConfigError(f"keypoints.n is {self.n}: give at least 3")
        if not 0 <= self.min_area < 1:
            raise ConfigError(f"keypoints.min_area is {self.min_area}: give a share of the image in [0, 1)")


def resample(points: npt.NDArray[np.floating], n: int, cut: Flags | None = None) -> Points:
    """Return `n` points spaced evenly by arc length along a closed curve, the first at its start.

    Args:
        points: (m, 2) float, a closed curve, m >= 1.
        n: number of points.
        cut: (m,) bool, the pieces that are passed over, as `Contour.cut` gives them: their length does not count. If
            the last one is, the curve is open there, and the n-th point lies where it begins. If all are, none is.

    Example:
        >>> square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], dtype=float)
        >>> resample(square, 8)[:4].tolist()
        [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]
        >>> resample(square, 4, np.array([False, False, False, True])).tolist()
        [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]
    """
    x, y = np.concatenate([points, points[:1]]).T.astype(np.float64)
    steps = np.hypot(x[1:] - x[:-1], y[1:] - y[:-1])
    spaces = n
    if cut is not None and not cut.all():
        steps[cut] = 0
        if cut[-1]:
            spaces = n - 1
            steps = steps[: len(cut) - int(cut[::-1].argmin())]
    length = np.zeros(len(steps) + 1)
    steps.cumsum(out=length[1:])
    at = np.arange(n) * (length[-1] / spaces)
    x, y = x[: len(length)], y[: len(length)]
    resampled = np.empty((n, 2), np.float32)
    resampled[:, 0], resampled[:, 1] = np.interp(at, length, x), np.interp(at, length, y)
    return resampled

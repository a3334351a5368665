"""From an outline to a fixed number of key points."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.contours import Points
from facekp.errors import ConfigError


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
    x, y = np.concatenate([points, points[:1]]).T.astype(np.float64)
    length = np.zeros(len(x))
    np.hypot(x[1:] - x[:-1], y[1:] - y[:-1]).cumsum(out=length[1:])
    at = np.arange(n) * (length[-1] / n)
    resampled = np.empty((n, 2), np.float32)
    resampled[:, 0], resampled[:, 1] = np.interp(at, length, x), np.interp(at, length, y)
    return resampled

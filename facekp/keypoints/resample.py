"""From an outline to a fixed number of key points."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.errors import ConfigError
from facekp.keypoints.curves import Flags
from facekp.keypoints.outlines import METHODS, Points

TINY = 1e-12  # pixels; a curve without length has all its key points at its start


@dataclass
class KeypointConfig:
    """How outlines and key points are found."""

    method: str = "contour"  # contour: lines where an attribute's score overtakes all others; canny: edges of the masks
    n: int = 32  # key points of each attribute
    min_area: float = 1e-4  # parts and holes smaller than this share of what was parsed are dropped

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

    Pieces that the image's border cuts have no length: the n spaces are those of the rest, one after the other. So no
    point lies on the border, and none leaps when a part that moves begins to be cut. One that falls on a cut lies where
    the outline goes on after it.

    Args:
        points: (m, 2) float, a closed curve, m >= 1.
        n: number of points.
        cut: (m,) bool, the pieces that are cut, as `Contour.cut` gives them. If all are, none is.

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
    share = (at - ends[piece]) / np.maximum(lengths[piece], TINY) + 1
    return np.asarray(points[piece] + share[:, None] * steps[piece], np.float32)

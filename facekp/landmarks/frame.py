"""A face's own axes, and outlines in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.contours import Contour

Array = npt.NDArray[np.float64]

EYES_TO_FACE = 0.4
"""Distance between the eyes' centres over the square root of the skin's area, for a face that shows one eye only."""


@dataclass(frozen=True)
class Frame:
    """Axes that turn with the face: u from its right eye to its left (rightwards in an upright image), v down.

    Attributes:
        origin: (2,) source-image pixels: halfway between the eyes' centres; without both eyes, the skin's centre.
        axes: (2, 2) float, the unit vectors of u and v.
        unit: distance between the eyes' centres, pixels; without both eyes, an estimate from the skin's area.
        paired: whether both eyes are there.
    """

    origin: Array
    axes: Array
    unit: float
    paired: bool

    def enter(self, points: npt.NDArray[np.floating]) -> Array:
        """Return image points (n, 2) in the frame, pixels."""
        entered: Array = (points - self.origin) @ self.axes.T
        return entered

    def leave(self, points: Array) -> Array:
        """Return frame points (n, 2) in the image."""
        return self.turn(points) + self.origin

    def turn(self, vectors: Array) -> Array:
        """Return frame vectors (n, 2), which have no place, in the image."""
        turned: Array = vectors @ self.axes
        return turned


def find_frame(shape: tuple[int, ...], contours: Mapping[str, Sequence[Contour]]) -> Frame:
    """Return the frame by the eyes; without both, turned as the brows are, and upright without those.

    Args:
        shape: (H, W) of the mask.
        contours: of each attribute in the picture, by name, the largest part first.
    """
    for part in ("eye", "brow"):
        if f"l_{part}" in contours and f"r_{part}" in contours:
            right, left = (contours[f"{side}_{part}"][0].points.mean(0, np.float64) for side in "rl")
            distance = float(np.hypot(*(left - right)))
            if distance > 0:
                axes = _axes((left - right) / distance)
                if part == "eye":
                    return Frame((left + right) / 2, axes, distance, True)
                break
    else:
        axes = _axes(np.array([1.0, 0.0]))
    skin = contours.get("skin")
    if not skin:
        return Frame(np.array(shape[::-1]) / 2, axes, EYES_TO_FACE * min(shape), False)
    points = skin[0].points
    return Frame((points.min(0) + points.max(0)) / 2.0, axes, EYES_TO_FACE * float(np.sqrt(skin[0].area)), False)


def _axes(u: Array) -> Array:
    return np.array([u, [-u[1], u[0]]])


class Outline:
    """A clockwise closed outline in a face's frame.

    Args:
        points: (m, 2) float, frame pixels.

    Attributes:
        points: the same.
        left: (2,) the point of least u.
        right: (2,) the point of greatest u.
    """

    def __init__(self, points: Array) -> None:
        self.points = points
        u = points[:, 0]
        first, last = int(u.argmin()), int(u.argmax())
        self.left, self.right = points[first], points[last]
        turned = np.concatenate([points[first:], points[: first + 1]])
        middle = (last - first) % len(points)
        self._upper, self._lower = turned[: middle + 1], turned[middle:][::-1]

    @property
    def centre(self) -> Array:
        """(2,) the middle of the bounding box."""
        middle: Array = (self.points.min(0) + self.points.max(0)) / 2
        return middle

    def upper(self, u: npt.ArrayLike) -> Array:
        """Return the points (n, 2) of the upper edge at `u` (n,)."""
        return _at(self._upper, u)

    def lower(self, u: npt.ArrayLike) -> Array:
        """Return the points (n, 2) of the lower edge at `u` (n,)."""
        return _at(self._lower, u)


def _at(edge: Array, u: npt.ArrayLike) -> Array:
    # Where an edge turns back over itself, its first crossing counts.
    u = np.atleast_1d(np.asarray(u, np.float64))
    return np.stack([u, np.interp(u, np.maximum.accumulate(edge[:, 0]), edge[:, 1])], axis=1)

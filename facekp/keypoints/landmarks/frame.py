"""A face's own axes, and outlines in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.keypoints.outlines import Contour, Points

Array = npt.NDArray[np.float64]
Contours = Mapping[str, Sequence[Contour]]
"""Outlines of each attribute in the picture, by its name, the largest part first."""

USUAL: Final[dict[str, tuple[float, float]]] = {
    "r_eye": (-0.5, 0.0),
    "l_eye": (0.5, 0.0),
    "r_brow": (-0.53, -0.26),
    "l_brow": (0.53, -0.26),
    "nose": (0.0, 0.41),
    "u_lip": (0.0, 1.01),
    "l_lip": (0.0, 1.18),
}
"""Centroids of the parts in a face's frame, in its units: medians over 500 faces of CelebAMask-HQ."""
ENOUGH_SPREAD = 0.1
"""Least sum of the squared distances of known parts from their mean, in `USUAL`, that tells how a face is turned."""
EYES_TO_FACE = 0.4
"""Distance between the eyes over the square root of the skin's area, for a face with hardly any part to see."""


@dataclass(frozen=True)
class Frame:
    """Axes that turn with the face: u from its right eye to its left (rightwards in an upright image), v down.

    Attributes:
        origin: (2,) source-image pixels, halfway between the eyes.
        axes: (2, 2) float, the unit vectors of u and v.
        unit: distance between the eyes, pixels.
    """

    origin: Array
    axes: Array
    unit: float

    def enter(self, points: npt.NDArray[np.floating]) -> Array:
        """Return image points (n, 2), pixels, in the frame, units."""
        entered: Array = (points - self.origin) @ (self.axes.T / self.unit)
        return entered

    def leave(self, points: Array) -> Array:
        """Return frame points (n, 2) in the image."""
        left: Array = points @ (self.axes * self.unit) + self.origin
        return left


def find_frame(shape: tuple[int, ...], contours: Contours) -> Frame:
    """Return the frame by the two eyes; without both, by the parts that are there; without enough, upright.

    Args:
        shape: (H, W) of the mask.
        contours: see `Contours`.
    """
    centres = {name: _centroid(contours[name][0].points) for name in USUAL if name in contours}
    if "r_eye" in centres and "l_eye" in centres:
        across = centres["l_eye"] - centres["r_eye"]
        if np.hypot(*across) > max(_extent(contours["r_eye"][0]), _extent(contours["l_eye"][0])):
            return _by_eyes(centres, across)
        # Two labels on one eye tell nothing.
        del centres["r_eye"], centres["l_eye"]
    return _by_parts(centres) or _by_skin(shape, contours)


def _by_eyes(centres: Mapping[str, Array], across: Array) -> Frame:
    origin = (centres["l_eye"] + centres["r_eye"]) / 2
    axes = _axes(across)
    below = [axes[1] @ (centres[name] - origin) for name in ("nose", "u_lip", "l_lip") if name in centres]
    # A mouth above the eyes: their labels are the wrong way round.
    return Frame(origin, -axes if below and max(below) < 0 else axes, float(np.hypot(*across)))


def _by_parts(centres: Mapping[str, Array]) -> Frame | None:
    """Return the similarity that brings `USUAL` nearest to `centres`, by least squares, as complex numbers."""
    if len(centres) < 2:
        return None
    usual = np.array([complex(*USUAL[name]) for name in centres])
    found = np.array([complex(*centre) for centre in centres.values()])
    spread = usual - usual.mean()
    if np.sum(np.abs(spread) ** 2) < ENOUGH_SPREAD:
        return None
    turn = complex(np.vdot(spread, found) / np.vdot(spread, spread))
    origin = found.mean() - turn * usual.mean()
    return Frame(np.array([origin.real, origin.imag]), _axes(np.array([turn.real, turn.imag])), abs(turn))


def _by_skin(shape: tuple[int, ...], contours: Contours) -> Frame:
    upright = np.eye(2)
    if "skin" not in contours:
        return Frame(np.array(shape[::-1]) / 2, upright, EYES_TO_FACE * min(shape))
    skin = contours["skin"][0]
    middle = (skin.points.min(0) + skin.points.max(0)) / 2.0
    return Frame(middle.astype(np.float64), upright, EYES_TO_FACE * float(np.sqrt(max(skin.area, 1.0))))


def _axes(u: Array) -> Array:
    u = u / np.hypot(*u)
    return np.array([u, [-u[1], u[0]]])


def _extent(contour: Contour) -> float:
    return float(np.hypot(*np.ptp(contour.points, axis=0)))


def _centroid(points: Points) -> Array:
    """Return the centroid (2,) of the area that a closed curve encloses, whose points may lie unevenly."""
    moments = cv2.moments(points.astype(np.float32))
    if moments["m00"] < 1e-6:
        return np.asarray(points.mean(0), np.float64)
    return np.array([moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]])


class Outline:
    """A clockwise closed outline in a face's frame.

    Args:
        points: (m, 2) float, frame units.
        pixel: a pixel's side, frame units.

    Attributes:
        points: the same.
        left: (2,) the end of least u.
        right: (2,) the end of greatest u.
        top: (2,) the end of least v.
        bottom: (2,) the end of greatest v.
        centre: (2,) the middle of the bounding box.
        size: (2,) its extent in u and v.
    """

    def __init__(self, points: Array, pixel: float) -> None:
        self.points = points
        low, high = points.min(0), points.max(0)
        self.centre, self.size = (low + high) / 2, high - low
        u, v = points.T
        self.left, self.right = _end(points, u - low[0], pixel), _end(points, high[0] - u, pixel)
        self.top, self.bottom = _end(points, v - low[1], pixel), _end(points, high[1] - v, pixel)
        first, last = int(u.argmin()), int(u.argmax())
        turned = np.concatenate([points[first:], points[: first + 1]])
        middle = (last - first) % len(points)
        self._upper, self._lower = turned[: middle + 1], turned[middle:][::-1]

    def upper(self, u: npt.ArrayLike) -> Array:
        """Return the points (n, 2) of the upper edge at `u` (n,)."""
        return _at(self._upper, u)

    def lower(self, u: npt.ArrayLike) -> Array:
        """Return the points (n, 2) of the lower edge at `u` (n,)."""
        return _at(self._lower, u)


def _end(points: Array, away: Array, pixel: float) -> Array:
    """Return the mean (2,) of the points that are less than half a pixel `away` (m,): a blunt end has many."""
    end: Array = points[away < pixel / 2].mean(0)
    return end


def _at(edge: Array, u: npt.ArrayLike) -> Array:
    # Where an edge turns back over itself, its first crossing counts.
    u = np.asarray(u, np.float64)
    return np.stack([u, np.interp(u, np.maximum.accumulate(edge[:, 0]), edge[:, 1])], axis=1)

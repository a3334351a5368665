"""A face's own axes, and outlines in them.

Coordinates in these axes are in face units: 1 is the distance between the eyes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.keypoints.contour import Contour
from facekp.keypoints.curves import Points

Array = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]
Contours = Mapping[str, Sequence[Contour]]
"""Outlines of each attribute in the picture, by its name, the largest part first."""

USUAL: Final[dict[str, complex]] = {
    "r_eye": -0.5 + 0.0j,
    "l_eye": 0.5 + 0.0j,
    "r_brow": -0.53 - 0.26j,
    "l_brow": 0.53 - 0.26j,
    "nose": 0.0 + 0.41j,
    "u_lip": 0.0 + 1.01j,
    "l_lip": 0.0 + 1.18j,
}
"""Usual centroids of the parts, u + iv in face units: medians over 500 faces of CelebAMask-HQ."""
MIN_SPREAD = 0.1
"""Minimum sum of squared distances of the known parts of `USUAL` from their mean that determines a rotation."""
EYES_TO_FACE = 0.4
"""Distance between the eyes over the square root of the skin's area, for faces with hardly any visible part."""


class FaceAxes:
    """Axes that turn with the face: u from its right eye to its left (rightwards in an upright image), v down.

    Args:
        origin: halfway between the eyes, x + iy in source-image pixels.
        turn: vector from the right eye to the left one; its length is the unit.
    """

    def __init__(self, origin: complex, turn: complex) -> None:
        u = np.array([turn.real, turn.imag])
        u = u / np.hypot(*u)
        self.origin, self.unit = np.array([origin.real, origin.imag]), abs(turn)
        self.axes = np.array([u, [-u[1], u[0]]])

    def to_face(self, points: npt.NDArray[np.floating]) -> Array:
        """Return image points (n, 2), pixels, in face units."""
        return (points - self.origin) @ (self.axes.T / self.unit)

    def to_image(self, points: Array) -> Array:
        """Return points (n, 2) in face units as pixels of the image."""
        return points @ (self.axes * self.unit) + self.origin


def find_axes(shape: tuple[int, ...], contours: Contours) -> FaceAxes:
    """Return the axes from both eyes, else from the visible parts, else (too few parts) upright.

    `shape` is the mask's (H, W).
    """
    centres = {name: _centroid(contours[name][0].points) for name in USUAL if name in contours}
    if "r_eye" in centres and "l_eye" in centres:
        right, across = centres["r_eye"], centres["l_eye"] - centres["r_eye"]
        extents = [float(np.hypot(*np.ptp(contours[eye][0].points, axis=0))) for eye in ("r_eye", "l_eye")]
        if abs(across) > max(extents):
            below = [((centres[n] - right) / across).imag for n in ("nose", "u_lip", "l_lip") if n in centres]
            # A mouth above the eyes: their labels are swapped.
            swapped = len(below) > 0 and max(below) < 0
            return FaceAxes((centres["l_eye"] + right) / 2, -across if swapped else across)
        # Two labels on one eye say nothing about the face.
        del centres["r_eye"], centres["l_eye"]
    usual = np.array([USUAL[name] for name in centres])
    if len(centres) >= 2 and np.sum(np.abs(usual - usual.mean()) ** 2) >= MIN_SPREAD:
        return FaceAxes(*fit_similarity(usual, np.array(list(centres.values()))))
    if "skin" not in contours:
        return FaceAxes(complex(shape[1], shape[0]) / 2, EYES_TO_FACE * min(shape))
    skin = contours["skin"][0]
    middle = (skin.points.min(0) + skin.points.max(0)) / 2.0
    return FaceAxes(complex(*middle), EYES_TO_FACE * float(np.sqrt(max(skin.area, 1.0))))


def _centroid(points: Points) -> complex:
    """Return the centroid, x + iy, of the area that a closed curve encloses; its points may lie unevenly."""
    moments = cv2.moments(points)
    if moments["m00"] < 1e-6:
        return complex(*points.mean(0).astype(np.float64))
    return complex(moments["m10"] / moments["m00"], moments["m01"] / moments["m00"])


def fit_similarity(source: ComplexArray, target: ComplexArray) -> tuple[complex, complex]:
    """Return the shift and the turn for which `shift + turn * source` is nearest to `target` (least squares).

    Both are (n,) points x + iy; at least two of `source` differ. The turn rotates by its angle and scales by its
    absolute value.

    Example:
        >>> shift, turn = fit_similarity(np.array([0, 1, 1j]), np.array([5, 5 + 2j, 3]))
        >>> np.round([shift, turn], 9) + 0  # a quarter turn, twice as large
        array([5.+0.j, 0.+2.j])

    Reference: Umeyama 1991, without reflections; in the plane, a linear regression of complex numbers.
    """
    spread = source - source.mean()
    turn = complex(np.vdot(spread, target) / np.vdot(spread, spread).real)
    return complex(target.mean() - turn * source.mean()), turn


class FaceOutline:
    """A clockwise closed outline in a face's axes.

    Args:
        points: (m, 2) float, face units.
        pixel: a pixel's side, face units.

    Attributes:
        left, right: (2,) the ends at minimum and maximum u.
        top, bottom: (2,) the ends at minimum and maximum v.
        centre: (2,) the middle of the bounding box.
        size: (2,) its extent in u and v.
        upper, lower: (k, 2) the edges between the points of minimum and maximum u; see `points_on`.
    """

    def __init__(self, points: Array, pixel: float) -> None:
        low, high = points.min(0), points.max(0)
        self.centre, self.size = (low + high) / 2, high - low
        u, v = points.T
        # An end is the mean of the points within half a pixel of the extreme, because a blunt end has many.
        self.left, self.right, self.top, self.bottom = (
            points[distances < pixel / 2].mean(0) for distances in (u - low[0], high[0] - u, v - low[1], high[1] - v)
        )
        first, last = int(u.argmin()), int(u.argmax())
        turned = np.concatenate([points[first:], points[: first + 1]])
        middle = (last - first) % len(points)
        self.upper, self.lower = turned[: middle + 1], turned[middle:][::-1]


def points_on(edge: Array, u: Array) -> Array:
    """Return the points (n, 2) of an edge (k, 2) at `u` (n,)."""
    # Where an edge turns back over itself, its first crossing counts.
    return np.stack([u, np.interp(u, np.maximum.accumulate(edge[:, 0]), edge[:, 1])], axis=1)

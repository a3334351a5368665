"""Landmarks of each part of a face by plain geometry, without any fitted constant.

Each function takes outlines and returns the points (k, 2) of the names in `names.py`, in face units. Points that the
68-point scheme spaces along an edge are spaced evenly here; `facekp.keypoints.landmarks.calibration` corrects for the
detectors' habits.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from facekp.keypoints.landmarks.axes import Array, FaceOutline

THIRDS = np.array([1, 2]) / 3
QUARTERS = np.array([1, 2, 3]) / 4
EIGHTHS = np.arange(8) / 8
INNER_LIP = np.array([1, 4]) / 6
"""The inner corner, and the point between it and the centre, as shares of the way from the corner to the centre."""
ABOVE_EYES = -0.3
"""The jaw line is read off skin below this height, face units; it starts at the eyes' height, 0."""
HULL_POINTS = 300
"""Approximate number of points of the skin's outline that its hull is computed from."""


def eye(outline: FaceOutline) -> Array:
    """Return the six points of an eye, from its left corner, clockwise: its extremes, and the lids at thirds."""
    u = outline.left[0] + THIRDS * outline.size[0]
    return np.concatenate([outline.left[None], outline.upper(u), outline.right[None], outline.lower(u[::-1])])


def brow(outline: FaceOutline) -> Array:
    """Return the five points of a brow, from left to right: its ends, and three on its upper edge."""
    u = outline.left[0] + QUARTERS * outline.size[0]
    return np.concatenate([outline.left[None], outline.upper(u), outline.right[None]])


def nose(outline: FaceOutline) -> Array:
    """Return the nine points of a nose: four down its middle, then five along its lower edge from left to right."""
    (left, _), (right, _), middle = outline.left, outline.right, outline.centre[0]
    down = outline.top[1] + np.array([0, *QUARTERS]) * outline.size[1]
    ridge = np.stack([np.full(4, middle), down], axis=1)
    return np.concatenate([ridge, outline.lower(_across(left, middle, right, THIRDS))])


def mouth_corners(lips: Sequence[FaceOutline]) -> tuple[Array, Array]:
    """Return the mouth's left and right corner, (2,) each.

    One lip is often shorter than the other, so each corner is the mean of both ends and, once more, of the outer one.

    Args:
        lips: the one or two lips in the picture.
    """
    left, right = [lip.left for lip in lips], [lip.right for lip in lips]
    farthest = min(left, key=lambda corner: corner[0]), max(right, key=lambda corner: corner[0])
    return np.mean([*left, farthest[0]], axis=0), np.mean([*right, farthest[1]], axis=0)


def mouth_middle(left: Array, right: Array, nose: FaceOutline | None) -> float:
    """Return u of the mouth's middle: below the nose's middle, or without a nose halfway between the corners (2,)."""
    if nose is None:
        return float(left[0] + right[0]) / 2
    width = right[0] - left[0]
    # On a turned head the nose may reach over the mouth's corner; the middle stays inside.
    return float(np.clip(nose.centre[0], left[0] + width / 5, right[0] - width / 5))


def outer_lips(upper: FaceOutline, lower: FaceOutline, left: Array, right: Array, middle: float) -> Array:
    """Return the twelve points of the lips' outer edge, from the left corner, clockwise.

    Args:
        upper: the upper lip; its upper edge counts.
        lower: the lower lip; its lower edge counts.
        left: (2,) the left corner.
        right: (2,) the right corner.
        middle: u of the mouth's middle.
    """
    u = _across(left[0], middle, right[0], THIRDS)
    return np.concatenate([left[None], upper.upper(u), right[None], lower.lower(u[::-1])])


def inner_lips(upper: FaceOutline, lower: FaceOutline, left: Array, right: Array, middle: float) -> Array:
    """Return the eight points of the lips' inner edge, from the left corner, clockwise.

    Args:
        upper: the upper lip; its lower edge counts.
        lower: the lower lip; its upper edge counts.
        left: (2,) the left corner of the outer edge.
        right: (2,) the right one.
        middle: u of the mouth's middle.
    """
    u = _across(left[0], middle, right[0], INNER_LIP)
    above, below = upper.lower(u), lower.upper(u)
    between = (above + below) / 2
    # Where the smoothed outlines of closed lips overlap, the line between them serves as both edges.
    above[:, 1], below[:, 1] = np.minimum(above[:, 1], between[:, 1]), np.maximum(below[:, 1], between[:, 1])
    return np.concatenate([between[:1], above[1:4], between[4:], below[3:0:-1]])


def _across(left: float, middle: float, right: float, shares: Array) -> Array:
    """Return u at `shares` of the way from left to the middle, the middle itself, and likewise from the right."""
    return np.array([*left + shares * (middle - left), middle, *right + shares[::-1] * (middle - right)])


def jaw(skin: npt.NDArray[np.floating], slope: float) -> Array | None:
    """Return the 17 points of the jaw line, or None unless skin reaches below the eyes on both sides.

    They run from the eyes' height down to the chin and up again, evenly spaced on either side of the chin, along the
    convex hull of the skin, which bridges gaps cut by strands of hair or a hand.

    Args:
        skin: (m, 2) outlines of the skin.
        slope: du/dv of the line from between the eyes to the chin.
    """
    low = skin[skin[:, 1] > ABOVE_EYES]
    if len(low) < 3:
        return None
    hull = cv2.convexHull(low[:: 1 + len(low) // HULL_POINTS].astype(np.float32))[:, 0].astype(np.float64)
    following = np.concatenate([hull[1:], hull[:1]])
    crossing = (hull[:, 1] > 0) != (following[:, 1] > 0)
    here, there = hull[crossing], following[crossing]
    level = here[:, 0] + (there[:, 0] - here[:, 0]) * here[:, 1] / (here[:, 1] - there[:, 1])
    if len(level) != 2 or not level.min() < 0 < level.max():
        return None
    below = hull[hull[:, 1] > 0]
    # Seen from a point inside, a convex curve turns one way only.
    below = below[np.argsort(-np.arctan2(below[:, 1], below[:, 0]))]
    curve = np.concatenate([[[level.min(), 0.0]], below, [[level.max(), 0.0]]])
    length = np.concatenate([[0.0], np.hypot(*np.diff(curve, axis=0).T).cumsum()])
    beyond = curve[:, 0] - slope * curve[:, 1]
    last = int((beyond > 0).argmax())
    chin = float(np.interp(0, beyond[last - 1 : last + 1], length[last - 1 : last + 1]))
    at = np.concatenate([EIGHTHS * chin, [chin], length[-1] + EIGHTHS[::-1] * (chin - length[-1])])
    return np.stack([np.interp(at, length, curve[:, 0]), np.interp(at, length, curve[:, 1])], axis=1)


def ear(outline: FaceOutline) -> Array:
    """Return the top, the outermost point and the lobe (3, 2) of an ear."""
    return np.stack([outline.top, outline.left if outline.centre[0] < 0 else outline.right, outline.bottom])

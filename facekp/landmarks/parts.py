"""Where each part of a face has its landmarks, in the face's frame.

Each function takes outlines and returns the points (k, 2) of the names in `facekp.landmarks.names`, frame pixels.

Masks and detectors differ in habit, not by chance alone: hand-made masks often leave out the inner corner (the
caruncle), and detectors place the corners of eye and mouth a little lower. `Habits` holds what was measured of that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import cv2
import numpy as np
import numpy.typing as npt

from facekp.landmarks.frame import Array, Frame, Outline


@dataclass(frozen=True)
class Habits:
    """Constants fitted to two detectors' points; lengths are shares of the distance between the eyes' centres.

    Attributes:
        eye_width: width of an eye.
        inner_share: how far the inner corner goes towards that width, 0 (the mask's corner) .. 1.
        outer_share: the same for the outer corner.
        inner_drop: how much lower than the mask's the inner corner lies.
        outer_drop: the same for the outer corner.
        mouth_drop: the same for the corners of the mouth.
        relief: of nose root, bridge, bridge, tip, nose base and lips: how far the point moves sideways when the head
            turns, over how far the middle of the nose does.
    """

    eye_width: float = 0.44
    inner_share: float = 0.4
    outer_share: float = 0.22
    inner_drop: float = 0.018
    outer_drop: float = 0.004
    mouth_drop: float = 0.012
    relief: tuple[float, float, float, float, float, float] = (1.15, 1.45, 1.8, 2.2, 1.6, 1.25)


HABITS = Habits()
UPPER_LID, LOWER_LID = np.array([0.31, 0.69]), np.array([0.28, 0.65])
"""The lids' points: shares of the way from the outer corner to the inner one."""
BROW = np.array([0.2, 0.47, 0.74])
"""The arch's points: shares of the way from the outer end to the inner one."""
RIDGE = np.array([0.08, 0.317, 0.553, 0.79])
"""The nose's ridge: shares of the height of its mask."""
NOSTRILS = np.array([0.32, 0.64])
"""Points 31 and 32: shares of the way from the wing's edge to the nose's base."""
LIP = np.array([0.37, 0.74])
"""Points 49 and 50: shares of the way from corner to centre."""
INNER_CORNER = 0.16
"""Point 60: the same."""
JAW_SHARES = np.arange(8) / 8
"""Points 0 to 7: shares of the way from the eyes' height to the chin."""


def eye(outline: Outline, inward: int, frame: Frame, habits: Habits = HABITS) -> Array:
    """Return the six points of an eye, from its left corner, clockwise.

    Annotators differ in where they let an eye end, more than eyes differ in width. So each corner goes part of the way
    to where an eye as wide as the distance of the two eyes suggests would have it.

    Args:
        outline: the eye.
        inward: where the nose lies: 1 to the eye's right, -1 to its left.
        frame: without both eyes the mask's own corners are kept.
        habits: the constants.
    """
    outer, inner = (outline.left, outline.right) if inward > 0 else (outline.right, outline.left)
    if frame.paired:
        lacking = habits.eye_width * frame.unit - (outline.right[0] - outline.left[0])
        inner = inner + np.array([inward * habits.inner_share * lacking, habits.inner_drop * frame.unit])
        outer = outer - np.array([inward * habits.outer_share * lacking, -habits.outer_drop * frame.unit])
    above = outline.upper(outer[0] + UPPER_LID * (inner[0] - outer[0]))
    below = outline.lower(outer[0] + LOWER_LID * (inner[0] - outer[0]))
    if inward > 0:
        return np.concatenate([outer[None], above, inner[None], below[::-1]])
    return np.concatenate([inner[None], above[::-1], outer[None], below])


def brow(outline: Outline, inward: int) -> Array:
    """Return the five points of a brow, from left to right: its ends, and three on its upper edge; see `eye`."""
    shares = BROW if inward > 0 else 1 - BROW[::-1]
    u = outline.left[0] + shares * (outline.right[0] - outline.left[0])
    return np.concatenate([outline.left[None], outline.upper(u), outline.right[None]])


def nose(outline: Outline, frame: Frame, habits: Habits = HABITS) -> Array:
    """Return the nine points of the nose: four down the ridge, five along the lower edge from left to right."""
    low, high = outline.points.min(0), outline.points.max(0)
    middle = (low[0] + high[0]) / 2
    relief = np.array(habits.relief[:5]) if frame.paired else np.ones(5)
    u = (relief * middle).clip(low[0], high[0])
    base = u[4]
    ridge = np.stack([u[:4], low[1] + RIDGE * (high[1] - low[1])], axis=1)
    lower = np.concatenate([low[0] + NOSTRILS * (base - low[0]), [base], high[0] + NOSTRILS[::-1] * (base - high[0])])
    return np.concatenate([ridge, outline.lower(lower)])


def mouth_corners(lips: Sequence[Outline], frame: Frame, habits: Habits = HABITS) -> tuple[Array, Array]:
    """Return the mouth's left and right corner, (2,) each.

    A lip often ends short of the other, so each corner is the mean of where either ends and of the farther of the two.

    Args:
        lips: the one or two that are there.
        frame: the face's.
        habits: the constants.
    """
    drop = np.array([0, habits.mouth_drop * frame.unit])
    left = [*(lip.left for lip in lips), min((lip.left for lip in lips), key=itemgetter(0))]
    right = [*(lip.right for lip in lips), max((lip.right for lip in lips), key=itemgetter(0))]
    return np.mean(left, axis=0) + drop, np.mean(right, axis=0) + drop


def mouth_middle(nose: Outline | None, left: Array, right: Array, frame: Frame, habits: Habits = HABITS) -> float:
    """Return the u of the mouth's middle: where the nose's middle tells it, else halfway between the corners (2,)."""
    if nose is None or not frame.paired:
        return float(left[0] + right[0]) / 2
    width = right[0] - left[0]
    return float(np.clip(habits.relief[5] * nose.centre[0], left[0] + width / 5, right[0] - width / 5))


def outer_lips(upper: Outline, lower: Outline, left: Array, right: Array, centre: float) -> Array:
    """Return the twelve points of the lips' outer edge, from the left corner, clockwise.

    Args:
        upper: the upper lip; its upper edge counts.
        lower: the lower lip; its lower edge counts.
        left: (2,) the left corner.
        right: (2,) the right corner.
        centre: u of the mouth's middle.
    """
    u = _across(left[0], centre, right[0], LIP)
    return np.concatenate([left[None], upper.upper(u), right[None], lower.lower(u[::-1])])


def inner_lips(upper: Outline, lower: Outline, left: Array, right: Array, centre: float) -> Array:
    """Return the eight points of the lips' inner edge, from the left corner, clockwise.

    Args:
        upper: the upper lip; its lower edge counts.
        lower: the lower lip; its upper edge counts.
        left: (2,) the left corner of the outer edge.
        right: (2,) the right one.
        centre: u of the mouth's middle.
    """
    u = _across(left[0], centre, right[0], np.array([INNER_CORNER, LIP[1]]))
    above, below = upper.lower(u), lower.upper(u)
    between = (above + below) / 2
    # Where closed lips' smoothed outlines overlap, the line between them is both.
    above[:, 1], below[:, 1] = np.minimum(above[:, 1], between[:, 1]), np.maximum(below[:, 1], between[:, 1])
    return np.concatenate([between[:1], above[1:4], between[4:], below[3:0:-1]])


def _across(left: float, centre: float, right: float, shares: Array) -> Array:
    """Return places at `shares` of the way from left to centre, the centre, and those from right to centre."""
    return np.concatenate([left + shares * (centre - left), [centre], right + shares[::-1] * (centre - right)])


def jaw(skin: npt.NDArray[np.floating], chin: float) -> Array | None:
    """Return the 17 points of the jaw line, or None where no skin reaches below the eyes on both sides.

    From the eyes' height down to the chin and up again, evenly spaced on either side of the chin. The line is the
    convex hull, which bridges what strands of hair or a hand cut out of the skin.

    Args:
        skin: (m, 2) outlines of the skin.
        chin: slope du/dv of the line from between the eyes to the chin.
    """
    hull = cv2.convexHull(skin.astype(np.float32))[:, 0].astype(np.float64)
    following = np.roll(hull, -1, axis=0)
    crossing = (hull[:, 1] > 0) != (following[:, 1] > 0)
    here, there = hull[crossing], following[crossing]
    level = here[:, 0] + (there[:, 0] - here[:, 0]) * here[:, 1] / (here[:, 1] - there[:, 1])
    if len(level) != 2 or not level.min() < 0 < level.max():
        return None
    below = hull[hull[:, 1] > 0]
    # Around a point inside it a convex curve turns one way only.
    below = below[np.argsort(-np.arctan2(below[:, 1], below[:, 0]))]
    curve = np.concatenate([[[level.min(), 0.0]], below, [[level.max(), 0.0]]])
    length = np.concatenate([[0.0], np.hypot(*np.diff(curve, axis=0).T).cumsum()])
    beyond = curve[:, 0] - chin * curve[:, 1]
    last = int((beyond > 0).argmax())
    middle = float(np.interp(0, beyond[last - 1 : last + 1], length[last - 1 : last + 1]))
    at = np.concatenate([JAW_SHARES * middle, [middle], length[-1] + JAW_SHARES[::-1] * (middle - length[-1])])
    return np.stack([np.interp(at, length, curve[:, 0]), np.interp(at, length, curve[:, 1])], axis=1)


def ear(outline: Outline, inward: int) -> Array:
    """Return the top, the outermost point and the lobe (3, 2) of an ear."""
    points = outline.points
    outer = outline.left if inward > 0 else outline.right
    return np.stack([points[points[:, 1].argmin()], outer, points[points[:, 1].argmax()]])

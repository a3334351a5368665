"""Landmarks of each part of a face by plain geometry, and the classes that may cover them.

No constant here is fitted. Points that the 68-point scheme spaces along an edge are spaced evenly;
`facekp.keypoints.landmarks.calibration` corrects for the detectors' habits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import BACKGROUND, Classes
from facekp.keypoints.contour import Contour
from facekp.keypoints.landmarks import names
from facekp.keypoints.landmarks.axes import Array, Contours, FaceAxes, FaceOutline, points_on


@dataclass(frozen=True)
class Covers:
    """The classes that cover a point if they lie beside it: those that show `parts`, or all that do not.

    `BACKGROUND` counts as a part.
    """

    parts: tuple[str, ...]
    all_but: bool = False

    def of(self, classes: Classes) -> npt.NDArray[np.bool_]:
        """Return whether each class covers, (C,) bool."""
        own = {*classes.showing(*self.parts), *(name for name in self.parts if name == BACKGROUND)}
        return np.array([(name in own) != self.all_but for name in classes.names])


SINGLE = ("r_eye", "l_eye", "r_brow", "l_brow", "r_ear", "l_ear", "nose")
LIPS = ("u_lip", "l_lip")
LANDMARKS = (*SINGLE, *LIPS, "skin")
"""The parts that landmarks are read off."""
FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")

NOTHING = Covers(())
HAIR = Covers(("hair", "hat"))
# Ears lie beside the upper ends of the jaw; background there is the edge of a turned head.
SILHOUETTE = Covers(("hair", "hat", BACKGROUND))
# Face surrounds a facial part, unless hair, a hand (labelled background) or the turn of the head hides its end.
ALL_BUT_FACE = Covers(FACE, all_but=True)
# Eyes and brows behind clear glasses have their own labels; behind dark ones they are not in the mask at all.
ALL_BUT_FACE_AND_GLASSES = Covers((*FACE, "eye_g"), all_but=True)

THIRDS = np.array([1, 2]) / 3
QUARTERS = np.array([1, 2, 3]) / 4
EIGHTHS = np.arange(8) / 8
INNER_LIP = np.array([1, 4]) / 6
"""The inner corner, and the point between it and the centre, as shares of the way from the corner to the centre."""
BELOW_EARS = (2, 15)
"""Points 2 to 14 of the jaw line lie below the ears, or beside their lobes."""
SPECK = 0.05
"""Parts of the skin below this share of the largest part are left out of the jaw line."""
WHOLE_EAR = 0.5
"""Minimum height, face units, of an ear that is not partly under hair."""
ABOVE_EYES = -0.3
"""The jaw line is read off skin below this height, face units; it starts at the eyes' height, 0."""
HULL_POINTS = 300
"""Approximate number of outline points used for the skin's hull."""


@dataclass(frozen=True, eq=False)
class Group:
    """The landmarks of one part.

    Attributes:
        part: its name in the calibration.
        names: names of the k landmarks.
        points: (k, 2) face units.
        centre: (2,) the part's middle; whatever lies beyond a point, seen from there, may cover it.
        width: the part's width, face units.
        covers: the classes that cover its points.
        read_off: the parts its points were read off.
    """

    part: str
    names: tuple[str, ...]
    points: Array
    centre: Array
    width: float
    covers: Covers
    read_off: tuple[str, ...]


def measure(contours: Contours, axes: FaceAxes) -> tuple[list[Group], float]:
    """Return the uncalibrated landmarks of each part in the picture, and the head's turn, for `Calibration.move`."""
    outlines = {
        name: FaceOutline(axes.to_face(contours[name][0].points), 1 / axes.unit)
        for name in (*SINGLE, *LIPS)
        if name in contours
    }
    groups = [_single(name, outline) for name, outline in outlines.items() if name in SINGLE]
    lips, nose = {name: outlines[name] for name in LIPS if name in outlines}, outlines.get("nose")
    groups += _mouth(lips, nose)
    if "skin" in contours:
        u, v = np.mean([lip.centre for lip in lips.values()], axis=0) if lips else (0.0, 1.0)
        groups += _jaw(contours["skin"], axes, float(u / max(v, 1.0)))
    return groups, float(nose.centre[0]) if nose else 0.0


def _single(name: str, outline: FaceOutline) -> Group:
    """Return the landmarks of an eye, a brow, an ear or the nose."""
    side, _, part = name.rpartition("_")
    left, right, (width, height) = outline.left, outline.right, outline.size
    covers = ALL_BUT_FACE_AND_GLASSES
    if part == "eye":  # from the left corner, clockwise: the extremes, and the lids at thirds
        own, u = names.EYES[side], left[0] + THIRDS * width
        points = [left[None], points_on(outline.upper, u), right[None], points_on(outline.lower, u[::-1])]
    elif part == "brow":  # from left to right: the ends, and three points on the upper edge
        own, u = names.BROWS[side], left[0] + QUARTERS * width
        points = [left[None], points_on(outline.upper, u), right[None]]
    elif part == "ear":  # the top, the outermost point and the lobe
        own, covers = names.EARS[side], NOTHING if height >= WHOLE_EAR else HAIR
        points = [outline.top[None], (left if outline.centre[0] < 0 else right)[None], outline.bottom[None]]
    else:  # four points down the middle, then five along the lower edge from left to right
        own, covers, middle = names.NOSE, ALL_BUT_FACE, outline.centre[0]
        down = outline.top[1] + np.array([0, *QUARTERS]) * height
        ridge = np.stack([np.full(4, middle), down], axis=1)
        points = [ridge, points_on(outline.lower, _across(left[0], middle, right[0], THIRDS))]
    return Group(part, own, np.concatenate(points), outline.centre, float(width), covers, (name,))


def _mouth(lips: Mapping[str, FaceOutline], nose: FaceOutline | None) -> Iterator[Group]:
    """Yield the outer edge of the lips and, if both are present, the inner one; clockwise from the left corner."""
    if not lips:
        return
    both = list(lips.values())
    upper, lower = both[0], both[-1]
    # One lip is often shorter than the other, so a corner is the mean of both ends, the outer one counted twice.
    lefts, rights = [lip.left for lip in both], [lip.right for lip in both]
    left = np.mean([*lefts, min(lefts, key=lambda corner: corner[0])], axis=0)
    right = np.mean([*rights, max(rights, key=lambda corner: corner[0])], axis=0)
    width = right[0] - left[0]
    # The middle lies below the nose's. On a turned head the nose may pass a corner, but the middle stays inside.
    inside = left[0] + width / 5, right[0] - width / 5
    middle = (left[0] + right[0]) / 2 if nose is None else nose.centre[0].clip(*inside)
    u = _across(left[0], middle, right[0], THIRDS)
    outer = np.concatenate([left[None], points_on(upper.upper, u), right[None], points_on(lower.lower, u[::-1])])
    centre = (upper.centre + lower.centre) / 2
    yield Group("mouth", names.LIPS, outer, centre, float(width), ALL_BUT_FACE, tuple(lips))
    if len(both) == 2:
        u = _across(left[0], middle, right[0], INNER_LIP)
        above, below = points_on(upper.lower, u), points_on(lower.upper, u)
        between = (above + below) / 2
        # Where the smoothed outlines of closed lips overlap, the line between them serves as both edges.
        above[:, 1], below[:, 1] = np.minimum(above[:, 1], between[:, 1]), np.maximum(below[:, 1], between[:, 1])
        inner = np.concatenate([between[:1], above[1:4], between[4:], below[3:0:-1]])
        yield Group("mouth", names.INNER_LIPS, inner, centre, float(width), ALL_BUT_FACE, tuple(lips))


def _across(left: float, middle: float, right: float, shares: Array) -> Array:
    """Return u at `shares` of the way from left to the middle, the middle itself, and likewise from the right."""
    return np.array([*left + shares * (middle - left), middle, *right + shares[::-1] * (middle - right)])


def _jaw(skin: Sequence[Contour], axes: FaceAxes, slope: float) -> Iterator[Group]:
    """Yield the jaw line in three pieces, unless the skin does not reach below the eyes on both sides."""
    # Hair may divide the skin; small specks are mistakes.
    own = [contour.points for contour in skin if not contour.hole and contour.area >= SPECK * skin[0].area]
    points = jaw_line(axes.to_face(np.concatenate(own)), slope)
    if points is None:
        return
    width = float(np.ptp(points[:, 0]))
    first, last = BELOW_EARS
    for piece, covers in ((slice(first), SILHOUETTE), (slice(first, last), HAIR), (slice(last, None), SILHOUETTE)):
        yield Group("jaw", names.JAW[piece], points[piece], np.zeros(2), width, covers, ("skin",))


def jaw_line(skin: npt.NDArray[np.floating], slope: float) -> Array | None:
    """Return the 17 points of the jaw line, or None unless skin reaches below the eyes on both sides.

    They run from the eyes' height down to the chin and up again, evenly spaced on either side of the chin, along the
    convex hull of the skin's outlines (m, 2), which bridges gaps cut by strands of hair or a hand. `slope` is du/dv of
    the line from between the eyes to the chin.
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

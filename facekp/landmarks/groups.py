"""The parts of a face that are in the picture, with their landmarks and what may cover them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.attributes import ATTRIBUTES
from facekp.contours import Contour
from facekp.landmarks import names, parts
from facekp.landmarks.frame import Array, Frame, Outline
from facekp.landmarks.parts import Habits

Contours = Mapping[str, Sequence[Contour]]
Covers = npt.NDArray[np.bool_]
"""(19,) bool: classes that cover a point if they lie beside it."""

FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")


def _classes(*chosen: str) -> Covers:
    return np.isin(ATTRIBUTES, chosen)


NONE = _classes()
HAIR = _classes("hair", "hat")
# Beside the upper ends of the jaw there are ears; background there is the edge of a turned head.
SILHOUETTE = _classes("hair", "hat", "background")
EAR_JAW = (3, 14)
"""Between these of its 17 points the jaw line runs below the ears."""
# Beside a part of a face there is face. Else hair, a hand (which is background) or the turn of the head hides its end.
ALL_BUT_FACE = ~_classes(*FACE)
# Eyes and brows behind clear glasses are labelled as such; behind dark ones they are not in the mask at all.
ALL_BUT_FACE_AND_GLASSES = ~_classes(*FACE, "eye_g")
SPECK = 0.05
"""Parts of the skin below this share of the largest are left out of the jaw line."""
WHOLE_EAR = 0.5
"""Least height of an ear that is not partly under hair, as a share of the distance between the eyes' centres."""


@dataclass(frozen=True)
class Group:
    """The landmarks of one part.

    Attributes:
        names: k names.
        points: (k, 2) frame pixels.
        centre: (2,) the part's middle; what lies beyond a point, seen from there, may cover it.
        covers: the classes that do.
        read_off: attributes that were used.
    """

    names: tuple[str, ...]
    points: Array
    centre: Array
    covers: Covers
    read_off: tuple[str, ...]


def find_groups(contours: Contours, frame: Frame, habits: Habits) -> Iterator[Group]:
    """Yield the parts that are in the picture; see `facekp.landmarks.find_landmarks`."""
    outlines = {name: Outline(frame.enter(contours[name][0].points)) for name in contours if name in _READ}
    for name, own, nose in (("r_eye", names.R_EYE, 1), ("l_eye", names.L_EYE, -1)):
        if eye := outlines.get(name):
            yield Group(own, parts.eye(eye, nose, frame, habits), eye.centre, ALL_BUT_FACE_AND_GLASSES, (name,))
    for name, own, nose in (("r_brow", names.R_BROW, 1), ("l_brow", names.L_BROW, -1)):
        if brow := outlines.get(name):
            yield Group(own, parts.brow(brow, nose), brow.centre, ALL_BUT_FACE_AND_GLASSES, (name,))
    for name, own, side in (("r_ear", names.R_EAR, -1), ("l_ear", names.L_EAR, 1)):
        if ear := outlines.get(name):
            covers = NONE if np.ptp(ear.points[:, 1]) >= WHOLE_EAR * frame.unit else HAIR
            yield Group(own, parts.ear(ear, side), ear.centre, covers, (name,))
    if nose_outline := outlines.get("nose"):
        points = parts.nose(nose_outline, frame, habits)
        yield Group(names.NOSE, points, nose_outline.centre, ALL_BUT_FACE, ("nose",))
    yield from _mouth_and_jaw(contours, outlines, frame, habits)


_READ = ("r_eye", "l_eye", "r_brow", "l_brow", "r_ear", "l_ear", "nose", "u_lip", "l_lip")


def _mouth_and_jaw(
    contours: Contours, outlines: Mapping[str, Outline], frame: Frame, habits: Habits
) -> Iterator[Group]:
    slope = 0.0  # of the line from between the eyes to the chin, du/dv
    own = tuple(name for name in ("u_lip", "l_lip") if name in outlines)
    if own:
        upper, lower = outlines[own[0]], outlines[own[-1]]
        left, right = parts.mouth_corners([outlines[name] for name in own], frame, habits)
        middle = (upper.centre + lower.centre) / 2
        centre = parts.mouth_centre(outlines.get("nose"), left, right, frame, habits)
        outer = parts.outer_lips(upper, lower, left, right, centre)
        yield Group(names.LIPS, outer, middle, ALL_BUT_FACE, own)
        if len(own) == 2:
            inner = parts.inner_lips(upper, lower, left, right, centre)
            yield Group(names.INNER_LIPS, inner, middle, ALL_BUT_FACE, own)
        if middle[1] > 0:
            slope = middle[0] / middle[1]
    if "skin" in contours:
        # Hair may part the skin; specks of it elsewhere are mistakes.
        least = SPECK * contours["skin"][0].area
        skin = [c.points for c in contours["skin"] if not c.hole and c.area >= least]
        jaw = parts.jaw(frame.enter(np.concatenate(skin)), slope)
        if jaw is not None:
            for own, points, covers in zip(
                np.split(names.JAW, EAR_JAW), np.split(jaw, EAR_JAW), (SILHOUETTE, HAIR, SILHOUETTE), strict=True
            ):
                yield Group(tuple(own.tolist()), points, np.zeros(2), covers, ("skin",))

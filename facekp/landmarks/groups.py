"""The parts of a face that are in the picture, with their landmarks and what may cover them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.attributes import ATTRIBUTES
from facekp.contours import Contour, Points, trace
from facekp.images import UInt8Array
from facekp.landmarks import names, parts
from facekp.landmarks.frame import Array, Frame, Outline
from facekp.landmarks.parts import Habits

Contours = Mapping[str, Sequence[Contour]]
Covers = npt.NDArray[np.bool_]
"""(19,) bool: classes that cover a point if they lie beside it."""

MOUTH = ("mouth", "u_lip", "l_lip")  # ids that follow one another
FIRST_OF_MOUTH, LAST_OF_MOUTH = ATTRIBUTES.index(MOUTH[0]), ATTRIBUTES.index(MOUTH[-1])
FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", *MOUTH)


def _classes(*chosen: str) -> Covers:
    return np.isin(ATTRIBUTES, chosen)


NONE = _classes()
HAIR = _classes("hair", "hat")
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


def find_groups(mask: UInt8Array, contours: Contours, frame: Frame, habits: Habits) -> Iterator[Group]:
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
    yield from _mouth_and_jaw(mask, contours, outlines, frame, habits)


_READ = ("r_eye", "l_eye", "r_brow", "l_brow", "r_ear", "l_ear", "nose", "u_lip", "l_lip")


def _mouth_and_jaw(
    mask: UInt8Array, contours: Contours, outlines: Mapping[str, Outline], frame: Frame, habits: Habits
) -> Iterator[Group]:
    slope = 0.0  # of the line from between the eyes to the chin, du/dv
    both = tuple(name for name in ("u_lip", "l_lip") if name in outlines)
    if both:
        whole = Outline(frame.enter(_mouth_outline(mask, contours)))
        left, right = parts.mouth_corners([*(outlines[name] for name in both), whole], frame, habits)
        centre = parts.mouth_centre(outlines.get("nose"), left, right, frame, habits)
        yield Group(names.LIPS, parts.lips(whole, left, right, centre), whole.centre, ALL_BUT_FACE, both)
        if len(both) == 2:
            inner = parts.inner_lips(outlines["u_lip"], outlines["l_lip"], left, right, centre)
            yield Group(names.INNER_LIPS, inner, whole.centre, ALL_BUT_FACE, both)
        if whole.centre[1] > 0:
            slope = whole.centre[0] / whole.centre[1]
    if "skin" in contours:
        # Hair may part the skin; specks of it elsewhere are mistakes.
        largest = contours["skin"][0].area
        skin = [c.points for c in contours["skin"] if not c.hole and c.area >= SPECK * largest]
        jaw = parts.jaw(frame.enter(np.concatenate(skin)), slope)
        if jaw is not None:
            yield Group(names.JAW, jaw, np.zeros(2), HAIR, ("skin",))


def _mouth_outline(mask: UInt8Array, contours: Contours) -> Points:
    """Return the outline (m, 2), image pixels, of lips and mouth as one."""
    own = [contours[name][0].points for name in MOUTH if name in contours]
    x0, y0 = np.min([points.min(0) for points in own], axis=0).astype(int).clip(0)
    x1, y1 = np.max([points.max(0) for points in own], axis=0).astype(int) + 2
    crop = mask[y0:y1, x0:x1]
    (largest, *_) = trace((crop >= FIRST_OF_MOUTH) & (crop <= LAST_OF_MOUTH))
    return largest.points + np.array([x0, y0], np.float32)

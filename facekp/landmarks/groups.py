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

READ = ("r_eye", "l_eye", "r_brow", "l_brow", "r_ear", "l_ear", "nose", "u_lip", "l_lip")
"""Attributes of whose largest part the outline is read."""
FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")


def _classes(*chosen: str) -> Covers:
    return np.isin(ATTRIBUTES, chosen)


NONE = _classes()
HAIR = _classes("hair", "hat")
# Beside the upper ends of the jaw there are ears; background there is the edge of a turned head.
SILHOUETTE = _classes("hair", "hat", "background")
BELOW_EARS = (3, 14)
"""Points 3 to 13 of the jaw line lie below the ears."""
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
    outlines = {name: Outline(frame.enter(contours[name][0].points)) for name in contours if name in READ}
    for side, inward in (("r", 1), ("l", -1)):
        if eye := outlines.get(name := f"{side}_eye"):
            points = parts.eye(eye, inward, frame, habits)
            yield Group(names.EYES[side], points, eye.centre, ALL_BUT_FACE_AND_GLASSES, (name,))
        if brow := outlines.get(name := f"{side}_brow"):
            points = parts.brow(brow, inward)
            yield Group(names.BROWS[side], points, brow.centre, ALL_BUT_FACE_AND_GLASSES, (name,))
        if ear := outlines.get(name := f"{side}_ear"):
            covers = NONE if np.ptp(ear.points[:, 1]) >= WHOLE_EAR * frame.unit else HAIR
            yield Group(names.EARS[side], parts.ear(ear, inward), ear.centre, covers, (name,))
    if nose := outlines.get("nose"):
        yield Group(names.NOSE, parts.nose(nose, frame, habits), nose.centre, ALL_BUT_FACE, ("nose",))
    lips = tuple(name for name in ("u_lip", "l_lip") if name in outlines)
    if lips:
        yield from _mouth(outlines, lips, frame, habits)
    if "skin" in contours:
        centre = (outlines[lips[0]].centre + outlines[lips[-1]].centre) / 2 if lips else np.array([0.0, 1.0])
        yield from _jaw(contours["skin"], frame, float(centre[0] / max(centre[1], 1.0)))


def _mouth(outlines: Mapping[str, Outline], lips: tuple[str, ...], frame: Frame, habits: Habits) -> Iterator[Group]:
    upper, lower = outlines[lips[0]], outlines[lips[-1]]
    left, right = parts.mouth_corners([outlines[name] for name in lips], frame, habits)
    middle = parts.mouth_middle(outlines.get("nose"), left, right, frame, habits)
    centre = (upper.centre + lower.centre) / 2
    yield Group(names.LIPS, parts.outer_lips(upper, lower, left, right, middle), centre, ALL_BUT_FACE, lips)
    if len(lips) == 2:
        yield Group(names.INNER_LIPS, parts.inner_lips(upper, lower, left, right, middle), centre, ALL_BUT_FACE, lips)


def _jaw(skin: Sequence[Contour], frame: Frame, slope: float) -> Iterator[Group]:
    # Hair may part the skin; specks of it elsewhere are mistakes.
    own = [contour.points for contour in skin if not contour.hole and contour.area >= SPECK * skin[0].area]
    points = parts.jaw(frame.enter(np.concatenate(own)), slope)
    if points is None:
        return
    first, last = BELOW_EARS
    for piece, covers in ((slice(first), SILHOUETTE), (slice(first, last), HAIR), (slice(last, None), SILHOUETTE)):
        yield Group(names.JAW[piece], points[piece], np.zeros(2), covers, ("skin",))

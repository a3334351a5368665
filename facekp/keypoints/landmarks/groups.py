"""The parts of a face in the picture, with their landmarks and the classes that may cover them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES
from facekp.keypoints.landmarks import names, parts
from facekp.keypoints.landmarks.axes import Array, Contours, FaceAxes, FaceOutline
from facekp.keypoints.outlines import Contour

Covers = npt.NDArray[np.bool_]
"""(19,) bool: the classes that cover a point if they lie beside it."""

READ = ("r_eye", "l_eye", "r_brow", "l_brow", "r_ear", "l_ear", "nose", "u_lip", "l_lip")
"""Attributes whose largest part is read."""
FACE = ("skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")


def _classes(*chosen: str) -> Covers:
    return np.isin(ATTRIBUTES, chosen)


NONE = _classes()
HAIR = _classes("hair", "hat")
# Beside the upper ends of the jaw are ears; background there is the edge of a turned head.
SILHOUETTE = _classes("hair", "hat", "background")
# Beside a part of a face is face; otherwise hair, a hand (labelled background) or the turn of the head hides its end.
ALL_BUT_FACE = ~_classes(*FACE)
# Eyes and brows behind clear glasses have their own labels; behind dark ones they are not in the mask at all.
ALL_BUT_FACE_AND_GLASSES = ~_classes(*FACE, "eye_g")
BELOW_EARS = (2, 15)
"""Points 2 to 14 of the jaw line lie below the ears, or beside their lobes."""
SPECK = 0.05
"""Parts of the skin below this share of the largest part are left out of the jaw line."""
WHOLE_EAR = 0.5
"""Least height, face units, of an ear that is not partly under hair."""


@dataclass(frozen=True, eq=False)
class Group:
    """The landmarks of one part.

    Attributes:
        part: its name in the calibration.
        names: of the k landmarks.
        points: (k, 2) face units.
        centre: (2,) the part's middle; whatever lies beyond a point, seen from there, may cover it.
        width: of the part, face units.
        covers: the classes that cover its points.
        read_off: the attributes that its points were read off.
    """

    part: str
    names: tuple[str, ...]
    points: Array
    centre: Array
    width: float
    covers: Covers
    read_off: tuple[str, ...]


def find_outlines(contours: Contours, axes: FaceAxes) -> dict[str, FaceOutline]:
    """Return the outline of the largest part of each attribute that landmarks are read off."""
    return {n: FaceOutline(axes.to_face(contours[n][0].points), 1 / axes.unit) for n in READ if n in contours}


def find_groups(contours: Contours, outlines: Mapping[str, FaceOutline], axes: FaceAxes) -> Iterator[Group]:
    """Yield the parts in the picture; see `facekp.keypoints.landmarks.find_landmarks`."""
    for side in "rl":
        if eye := outlines.get(name := f"{side}_eye"):
            yield _own("eye", names.EYES[side], parts.eye(eye), eye, ALL_BUT_FACE_AND_GLASSES, name)
        if brow := outlines.get(name := f"{side}_brow"):
            yield _own("brow", names.BROWS[side], parts.brow(brow), brow, ALL_BUT_FACE_AND_GLASSES, name)
        if ear := outlines.get(name := f"{side}_ear"):
            covers = NONE if ear.size[1] >= WHOLE_EAR else HAIR
            yield _own("ear", names.EARS[side], parts.ear(ear), ear, covers, name)
    if nose := outlines.get("nose"):
        yield _own("nose", names.NOSE, parts.nose(nose), nose, ALL_BUT_FACE, "nose")
    lips = {name: outlines[name] for name in ("u_lip", "l_lip") if name in outlines}
    if lips:
        yield from _mouth(lips, nose)
    if "skin" in contours:
        u, v = np.mean([lip.centre for lip in lips.values()], axis=0) if lips else (0.0, 1.0)
        yield from _jaw(contours["skin"], axes, float(u / max(v, 1.0)))


def _own(part: str, own: names.Names, points: Array, outline: FaceOutline, covers: Covers, attribute: str) -> Group:
    return Group(part, own, points, outline.centre, float(outline.size[0]), covers, (attribute,))


def _mouth(lips: Mapping[str, FaceOutline], nose: FaceOutline | None) -> Iterator[Group]:
    both = list(lips.values())
    upper, lower = both[0], both[-1]
    left, right = parts.mouth_corners(both)
    middle = parts.mouth_middle(left, right, nose)
    centre, width = (upper.centre + lower.centre) / 2, float(right[0] - left[0])
    outer = parts.outer_lips(upper, lower, left, right, middle)
    yield Group("mouth", names.LIPS, outer, centre, width, ALL_BUT_FACE, tuple(lips))
    if len(both) == 2:
        inner = parts.inner_lips(upper, lower, left, right, middle)
        yield Group("mouth", names.INNER_LIPS, inner, centre, width, ALL_BUT_FACE, tuple(lips))


def _jaw(skin: Sequence[Contour], axes: FaceAxes, slope: float) -> Iterator[Group]:
    # Hair may divide the skin; specks of it elsewhere are mistakes.
    own = [contour.points for contour in skin if not contour.hole and contour.area >= SPECK * skin[0].area]
    points = parts.jaw(axes.to_face(np.concatenate(own)), slope)
    if points is None:
        return
    width = float(np.ptp(points[:, 0]))
    first, last = BELOW_EARS
    for piece, covers in ((slice(first), SILHOUETTE), (slice(first, last), HAIR), (slice(last, None), SILHOUETTE)):
        yield Group("jaw", names.JAW[piece], points[piece], np.zeros(2), width, covers, ("skin",))

"""Parts of a face that a label leaves out, and classes that are a few stray pixels."""

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES
from facekp.data.audit.flaw import Flaw
from facekp.data.audit.geometry import BROWS, EYES, LIPS, NOSE, SKIN, Frame, Patch, Point
from facekp.images import UInt8Array

TINY = 16 / 512**2
"""Share of the image below which a class is a few stray pixels: 16 pixels of a label of 512 x 512."""

GLASSES = 3
COVERS = (0, GLASSES, 13, 14, 18)  # background, glasses, hair, hat and cloth hide an eye
BELOW_BROW = 0.1  # face widths from a brow's centre down to its eye's
EYE_REACH = 0.15  # half the side of the square in which an eye is looked for, face widths
EYE_NEAR = 0.12  # half the side of the square in which its label would be
OPEN_EYE = "haarcascade_eye_tree_eyeglasses.xml"  # of OpenCV's cascades the one that passes over closed eyes


def check_size(counts: npt.NDArray[np.int64]) -> list[Flaw]:
    """Tell a label without a face, and classes that are there with next to no pixels.

    Args:
        counts: (19,) int64, the pixels of each class.
    """
    if not counts[SKIN]:
        return [Flaw("empty", "nothing is labelled" if not counts[1:].any() else "no skin")]
    few = [c for c in range(1, len(counts)) if 0 < counts[c] < TINY * counts.sum()]
    return [Flaw("tiny", ", ".join(f"{ATTRIBUTES[c]} {counts[c]} px" for c in few))] if few else []


def check_missing(
    image: UInt8Array, label: UInt8Array, counts: npt.NDArray[np.int64], patches: list[Patch], frame: Frame
) -> Flaw | None:
    """Tell a face without nose, without lips, or without the label of an open eye.

    Closed eyes have no label in CelebAMask-HQ, nor have hidden ones. So an eye counts as missing where there is a brow
    with bare skin below it and OpenCV's cascade sees an open eye there; where both are, if it sees both.

    Args:
        image: (H, W, 3) uint8, RGB, of the label's shape.
        label: (H, W) uint8, class ids.
        counts: (19,) int64, the pixels of each class.
        patches: the label's eyes, brows and ears.
        frame: the face's axes.
    """
    missing = [] if counts[NOSE] else ["no nose"]
    missing += [] if counts[list(LIPS)].any() else ["no lips"]
    missing += _open_eyes(image, label, patches, frame)
    return Flaw("missing", ", ".join(missing)) if missing else None


def _open_eyes(image: UInt8Array, label: UInt8Array, patches: list[Patch], frame: Frame) -> list[str]:
    places = [place for side in (1, -1) if (place := _bare_place(label, patches, frame, side)) is not None]
    if not places:
        return []
    # Loaded here, 15 ms: a cascade serves one thread only, and few images come to this.
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + OPEN_EYE)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    for place in places:
        square = cv2.resize(_square(np.asarray(grey, np.uint8), place, EYE_REACH * frame.unit), (100, 100))
        if not len(cascade.detectMultiScale(square, 1.05, 6, minSize=(25, 25), maxSize=(90, 90))):
            return []
    return [_describe(label, place, frame) for place in places]


def _describe(label: UInt8Array, place: Point, frame: Frame) -> str:
    """Name the eye that is missing, and the class that is in its place where that is not skin."""
    eye = ATTRIBUTES[EYES[0] if frame.across(place) > 0 else EYES[1]]
    there = int(np.bincount(_square(label, place, EYE_NEAR / 4 * frame.unit).ravel()).argmax())
    return f"no {eye}" + ("" if there == SKIN else f" ({ATTRIBUTES[there]} in its place)")


def _bare_place(label: UInt8Array, patches: list[Patch], frame: Frame, side: int) -> Point | None:
    """Return where an eye should be (x, y) on the side (1: the subject's left) that has a brow and no eye."""
    here = [patch for patch in patches if frame.across(patch.centre) * side > 0]
    brows = [patch for patch in here if patch.class_id in BROWS]
    if not brows or any(patch.class_id in EYES for patch in here):
        return None
    place: Point = max(brows, key=lambda brow: brow.area).centre + BELOW_BROW * frame.unit * frame.down
    covered = np.isin(_square(label, place, EYE_NEAR * frame.unit), COVERS)
    return None if not covered.size or covered.mean() > 0.25 else place


def _square(picture: UInt8Array, centre: Point, reach: float) -> UInt8Array:
    """Cut out the square of `reach` pixels around (x, y), less what lies outside."""
    (x0, y0), (x1, y1) = (np.maximum(np.round(centre + d), 0).astype(int) for d in (-reach, reach))
    return picture[y0:y1, x0:x1]

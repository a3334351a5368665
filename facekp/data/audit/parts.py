"""Parts of a face that a label lacks, and classes of a few stray pixels."""

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES
from facekp.data.audit.findings import Flaw
from facekp.data.audit.geometry import BROWS, EYES, LIPS, NOSE, SKIN, Axes, Patch, Point
from facekp.images import UInt8Array

TINY = 16 / 512**2
"""Share of the image below which a class counts as stray pixels: 16 pixels of a label of 512 x 512."""

COVERS = (0, 3, 13, 14, 18)  # background, glasses, hair, hat and cloth hide an eye
BELOW_BROW = 0.1  # face widths from a brow's centre down to its eye's
EYE_REACH = 0.15  # half the side of the square that is searched for an eye, face widths
EYE_NEAR = 0.12  # half the side of the square in which its label would be
OPEN_EYE = "haarcascade_eye_tree_eyeglasses.xml"  # the one of OpenCV's cascades that ignores closed eyes


def check_size(counts: npt.NDArray[np.int64]) -> list[Flaw]:
    """Report a label without a face, and classes with very few pixels; `counts` are (19,) pixels of each class."""
    if not counts[SKIN]:
        return [Flaw("empty", "nothing is labelled" if not counts[1:].any() else "no skin")]
    few = [c for c in range(1, len(counts)) if 0 < counts[c] < TINY * counts.sum()]
    return [Flaw("tiny", ", ".join(f"{ATTRIBUTES[c]} {counts[c]} px" for c in few))] if few else []


def check_missing(
    image: UInt8Array, label: UInt8Array, counts: npt.NDArray[np.int64], patches: list[Patch], axes: Axes
) -> Flaw | None:
    """Report a face without nose, without lips, or without the label of an open eye.

    CelebAMask-HQ labels neither closed nor hidden eyes. An eye therefore counts as missing if there is bare skin below
    its brow in which OpenCV's cascade sees an open eye; if both eyes are unlabelled, it must see both.

    Args:
        image: (H, W, 3) uint8, RGB, of the label's shape.
        label: (H, W) uint8, class ids.
        counts: (19,) int64, the pixels of each class.
        patches: the label's eyes, brows and ears.
        axes: the face's axes.
    """
    missing = [] if counts[NOSE] else ["no nose"]
    missing += [] if counts[list(LIPS)].any() else ["no lips"]
    missing += _open_eyes(image, label, patches, axes)
    return Flaw("missing", ", ".join(missing)) if missing else None


def _open_eyes(image: UInt8Array, label: UInt8Array, patches: list[Patch], axes: Axes) -> list[str]:
    """Return what is missing where a side has a brow but no eye, unless the expected place is covered."""
    missing: list[str] = []
    for side in (1, -1):  # 1: the subject's left
        here = [patch for patch in patches if axes.across(patch.centre) * side > 0]
        brows = [patch for patch in here if patch.class_id in BROWS]
        if not brows or any(patch.class_id in EYES for patch in here):
            continue
        place = max(brows, key=lambda brow: brow.area).centre + BELOW_BROW * axes.unit * axes.down
        around = _square(label, place, EYE_NEAR * axes.unit)
        if not around.size or np.isin(around, COVERS).mean() > 0.25:
            continue
        # Loaded here, in 15 ms: a cascade serves one thread only, and few images get this far.
        cascade = cv2.CascadeClassifier(cv2.data.haarcascades + OPEN_EYE)
        grey = np.asarray(cv2.cvtColor(_square(image, place, EYE_REACH * axes.unit), cv2.COLOR_RGB2GRAY), np.uint8)
        eye = cv2.resize(grey, (100, 100))
        if not len(cascade.detectMultiScale(eye, 1.05, 6, minSize=(25, 25), maxSize=(90, 90))):
            return []
        name = ATTRIBUTES[EYES[0] if axes.across(place) > 0 else EYES[1]]
        there = int(np.bincount(_square(label, place, EYE_NEAR / 4 * axes.unit).ravel()).argmax())
        missing.append(f"no {name}" + ("" if there == SKIN else f" ({ATTRIBUTES[there]} in its place)"))
    return missing


def _square(picture: UInt8Array, centre: Point, reach: float) -> UInt8Array:
    """Crop the square of `reach` pixels around (x, y) to the picture."""
    (x0, y0), (x1, y1) = (np.maximum(np.round(centre + d), 0).astype(int) for d in (-reach, reach))
    return picture[y0:y1, x0:x1]

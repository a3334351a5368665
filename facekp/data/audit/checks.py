"""The flaws of a single face: reversed sides, missing parts, and classes of a few stray pixels."""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.data.audit.findings import Flaw
from facekp.data.audit.geometry import BROWS, EYES, LIPS, NOSE, PAIRS, SKIN, Axes, find_axes, part_table
from facekp.images import UInt8Array, cascade_file, resize

MARGIN = 0.1
"""Distance across the middle line beyond which a part is certainly on the wrong side, face widths.

In half profile, the far eye lies up to this far beyond the centre of the nose.
"""
SMALLEST = 6e-4
"""Smallest area of a piece, in squared face widths; stray pixels and the tip of an ear beneath hair are smaller."""
BOTH_SIDES = 0.2, 0.8  # a class covers both sides if its share of pixels on the wrong side lies between these
TINY = 16 / 512**2  # share of the image below which a class counts as stray pixels: 16 pixels of a 512 x 512 label
COVERS = (0, 3, 13, 14, 18)  # background, glasses, hair, hat and cloth hide an eye
BELOW_BROW = 0.1  # face widths from a brow's centre down to its eye's
EYE_REACH = 0.15  # half the side of the square that is searched for an eye, face widths
EYE_NEAR = 0.12  # half the side of the square that is searched for its label
OPEN_EYE = "haarcascade_eye_tree_eyeglasses.xml"  # the OpenCV cascade that ignores closed eyes

NAMES = CELEBAMASK_HQ.names
Verdict = Literal["right", "wrong", "both"]


def check_face(image: UInt8Array, label: UInt8Array, classes: Classes = CELEBAMASK_HQ) -> list[Flaw]:
    """Return the flaws of an image (H, W, 3) uint8 RGB and its label (h, w) uint8 of class ids or 255.

    Parts of the face that no class shows are not looked for.
    """
    height, width = label.shape
    if image.shape[0] * width != image.shape[1] * height:
        return [Flaw("mismatch", f"image {image.shape[1]} x {image.shape[0]} pixels, label {width} x {height}")]
    own = np.bincount(label.ravel(), minlength=len(classes))[: len(classes)]
    table = part_table(classes)
    label, shown = cv2.LUT(label, table), frozenset(table.tolist())
    counts = np.bincount(label.ravel(), minlength=len(NAMES))[: len(NAMES)]
    if not own[1:].any() or (SKIN in shown and not counts[SKIN]):
        return [Flaw("empty", "no skin" if own[1:].any() else "nothing is labelled")]
    few = [c for c in range(1, len(classes)) if 0 < own[c] < TINY * own.sum()]
    flaws = [Flaw("tiny", ", ".join(f"{classes.names[c]} {own[c]} px" for c in few))] if few else []
    if not counts[SKIN]:
        return flaws
    axes = find_axes(label, counts)
    missing = ["no nose"] if NOSE in shown and not counts[NOSE] else []
    missing += ["no lips"] if shown & {*LIPS} and not counts[list(LIPS)].any() else []
    missing += open_eyes(resize(image, (height, width)), label, axes) if shown >= {*EYES} else []
    flaws += [flaw] if (flaw := check_sides(axes)) else []
    return flaws + ([Flaw("missing", ", ".join(missing))] if missing else [])


def check_sides(axes: Axes) -> Flaw | None:
    """Report eyes, brows and ears that are labelled left but lie on the subject's right, or vice versa.

    Returns:
        `reversed`, `partly_reversed` (some parts only, or one name for both sides), or None.
    """
    verdicts: dict[int, Verdict] = {}
    for pair in PAIRS:
        verdicts |= _judge_pair(axes, pair)
    wrong, both = ([NAMES[c] for c, verdict in verdicts.items() if verdict == kind] for kind in ("wrong", "both"))
    if not wrong and not both:
        return None
    details = [f"{', '.join(wrong)} on the other side"] if wrong else []
    details += [f"{', '.join(both)} on both sides"] if both else []
    score = (len(wrong) + 0.5 * len(both)) / len(verdicts)
    return Flaw("reversed" if score == 1 else "partly_reversed", "; ".join(details), score)


def _judge_pair(axes: Axes, pair: tuple[int, int]) -> dict[int, Verdict]:
    """Compare the two parts with each other, which works up to a full profile, and each with the face's middle line."""
    (low, high), means, verdicts = BOTH_SIDES, list[float](), dict[int, Verdict]()
    for class_id, sign in zip(pair, (1, -1), strict=True):
        own = [p for p in axes.patches if p.class_id == class_id and p.area >= SMALLEST * axes.unit**2]
        if not own:
            continue
        across = np.array([sign * axes.across(patch.centre) for patch in own])  # positive on the right side
        areas = [patch.area for patch in own]
        means.append(float(np.average(across, weights=areas)))
        share = np.average(across < -MARGIN, weights=areas)
        if share >= low:
            verdicts[class_id] = "wrong" if share >= high else "both"
        elif means[-1] > MARGIN:  # otherwise it is too close to the middle to tell
            verdicts[class_id] = "right"
    if len(means) == 2 and "both" not in verdicts.values():
        # The two are swapped exactly if the left one lies farther to the subject's right than the right one.
        if sum(means) < 0:
            return dict.fromkeys(pair, "wrong")
        return {class_id: verdicts.get(class_id, "right") for class_id in pair}
    return verdicts


def open_eyes(image: UInt8Array, label: UInt8Array, axes: Axes) -> list[str]:
    """Report open eyes without a label, as "no l_eye" or "no r_eye", and the label in their place unless it is skin.

    CelebAMask-HQ labels neither closed nor hidden eyes. An eye therefore counts as missing only if the skin below its
    brow is bare and OpenCV's cascade sees an open eye there; if both eyes are unlabelled, it must see both.
    """
    missing: list[str] = []
    for side in (1, -1):  # 1: the subject's left
        here = [patch for patch in axes.patches if axes.across(patch.centre) * side > 0]
        brows = [patch for patch in here if patch.class_id in BROWS]
        if not brows or any(patch.class_id in EYES for patch in here):
            continue
        place = max(brows, key=lambda brow: brow.area).centre + BELOW_BROW * axes.unit * axes.down
        around = _square(label, place, EYE_NEAR * axes.unit)
        if not around.size or np.isin(around, COVERS).mean() > 0.25:
            continue
        # Loaded here, in 15 ms: a cascade serves one thread only, and few images get this far.
        cascade = cv2.CascadeClassifier(str(cascade_file(OPEN_EYE)))
        eye = cv2.cvtColor(_square(image, place, EYE_REACH * axes.unit), cv2.COLOR_RGB2GRAY)
        eye = cv2.resize(eye, (100, 100))
        if not len(cascade.detectMultiScale(eye, 1.05, 6, minSize=(25, 25), maxSize=(90, 90))):
            return []
        name = NAMES[EYES[0] if axes.across(place) > 0 else EYES[1]]
        there = int(np.bincount(_square(label, place, EYE_NEAR / 4 * axes.unit).ravel()).argmax())
        missing.append(f"no {name}" + ("" if there == SKIN else f" ({NAMES[there]} in its place)"))
    return missing


def _square(picture: UInt8Array, centre: npt.NDArray[np.float64], reach: float) -> UInt8Array:
    """Crop the square of `reach` pixels around (x, y) to the picture."""
    (x0, y0), (x1, y1) = (np.maximum(np.round(centre + d), 0).astype(int) for d in (-reach, reach))
    return picture[y0:y1, x0:x1]

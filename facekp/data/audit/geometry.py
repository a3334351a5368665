"""Where the parts of a face lie, read off its label alone and without trusting the names left and right."""

from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES, MIRROR_PAIRS
from facekp.images import UInt8Array

EYES, BROWS, EARS = MIRROR_PAIRS
SKIN, NOSE, LIPS = 1, 2, (11, 12)
_FACE = range(1, 13)  # skin to lower lip, ears and glasses included
_SAME_SIZE = 0.25  # of the largest patch: smaller ones are not an eye of its own
_APART = 0.2  # face widths between two eyes, at least

Point = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Patch:
    """A connected piece of an eye, a brow or an ear.

    Attributes:
        class_id: what the label calls it.
        centre: (2,) float64, x and y in pixels.
        area: pixels.
    """

    class_id: int
    centre: Point
    area: int

    @property
    def name(self) -> str:
        """Name of the class."""
        return ATTRIBUTES[self.class_id]


@dataclass(frozen=True)
class Frame:
    """A face's own axes.

    Attributes:
        origin: (2,) float64, pixels; on the middle line: the nose's centre, or else the lips' or the skin's.
        right: (2,) float64, unit vector towards the subject's left, which is the image's right in an upright head.
        unit: pixels; about the width of the face.
    """

    origin: Point
    right: Point
    unit: float

    def across(self, point: Point) -> float:
        """Return how far `point` lies to the side of the subject's left, in face widths."""
        return float((point - self.origin) @ self.right) / self.unit

    @property
    def down(self) -> Point:
        """Unit vector from the eyes to the mouth."""
        return np.array([-self.right[1], self.right[0]])


def find_patches(label: UInt8Array, counts: npt.NDArray[np.int64]) -> list[Patch]:
    """Return every connected piece of the eyes, brows and ears.

    Args:
        label: (H, W) uint8, class ids.
        counts: (19,) int64, the pixels of each class.
    """
    patches = []
    for class_id in (c for pair in MIRROR_PAIRS for c in pair if counts[c]):
        mask = cv2.inRange(label, class_id, class_id)
        # Only where the class is: the whole image takes ten times as long.
        x, y, width, height = cv2.boundingRect(mask)
        corner = np.array([x, y])
        _, _, stats, centres = cv2.connectedComponentsWithStats(mask[y : y + height, x : x + width], connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA].tolist()
        patches += [Patch(class_id, corner + c, a) for c, a in zip(centres[1:], areas, strict=True)]
    return patches


def find_frame(label: UInt8Array, counts: npt.NDArray[np.int64], patches: list[Patch]) -> Frame:
    """Return the axes of a face that has skin; the eyes' line, or else the brows', tells how the head is turned."""
    unit = float(np.sqrt(counts[_FACE].sum()))
    nose, lips = _centre(label, (NOSE, NOSE), counts), _centre(label, LIPS, counts)
    below = lips if lips is not None else nose
    origin = next(centre for centre in (nose, lips, _centre(label, (SKIN, SKIN), counts)) if centre is not None)
    right = np.array([1.0, 0.0])
    for pair in (EYES, BROWS):
        ends = _ends([patch for patch in patches if patch.class_id in pair], unit)
        if ends is not None and below is not None:
            first, second = ends
            right = (second - first) / np.linalg.norm(second - first)
            # Of the two directions of the line, the one that has the mouth below it.
            if (below - (first + second) / 2) @ np.array([-right[1], right[0]]) < 0:
                right = -right
            break
    return Frame(origin, right, unit)


def _ends(patches: list[Patch], unit: float) -> tuple[Point, Point] | None:
    """Return the centres of the two patches that lie farthest apart, or None where they are one eye's."""
    largest = max((patch.area for patch in patches), default=0)
    centres = [patch.centre for patch in patches if patch.area >= _SAME_SIZE * largest]
    pairs = [(float(np.linalg.norm(a - b)), k) for k, (a, b) in enumerate(combinations(centres, 2))]
    if not pairs or max(pairs)[0] < _APART * unit:
        return None
    return list(combinations(centres, 2))[max(pairs)[1]]


def _centre(label: UInt8Array, classes: tuple[int, int], counts: npt.NDArray[np.int64]) -> Point | None:
    """Return the centre of the classes from the first to the last given, or None where there are none."""
    first, last = classes
    if not counts[first : last + 1].any():
        return None
    moments = cv2.moments(cv2.inRange(label, first, last), binaryImage=True)
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"]

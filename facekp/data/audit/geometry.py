"""Geometry of a face's parts, derived from its label without trusting the names left and right.

Parts have the ids of CelebAMask-HQ here; `part_table` gives them to the labels of other classes.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX, PARTS, Classes
from facekp.images import UInt8Array

PAIRS = EYES, BROWS, EARS = (4, 5), (6, 7), (8, 9)
SKIN, NOSE, LIPS = 1, 2, (11, 12)
FACE = range(1, 13)  # skin to lower lip, ears and glasses included
SAME_SIZE = 0.25  # of the largest patch: smaller ones are not a separate eye
APART = 0.2  # minimum distance of two eyes, face widths

Point = npt.NDArray[np.float64]


def part_table(classes: Classes) -> UInt8Array:
    """Return the lookup table (256,) uint8 from class ids to those of the parts that the classes show.

    0 stands for none, and for several parts, such as both eyes; 255 stays.
    """
    table = np.zeros(256, np.uint8)
    table[IGNORE_INDEX] = IGNORE_INDEX
    for i, name in enumerate(classes.names):
        shown = [part for part in PARTS if name in classes.parts.get(part, ())]
        table[i] = CELEBAMASK_HQ.index(shown[0]) if len(shown) == 1 else 0
    return table


class Patch(NamedTuple):
    """A connected piece of an eye, a brow or an ear: its class, its centre (x, y) in pixels, and its area in pixels."""

    class_id: int
    centre: Point
    area: int


@dataclass(frozen=True, eq=False)
class Axes:
    """The axes of a face.

    Attributes:
        origin: (2,) float64, pixels; on the middle line: the centre of the nose, or else of the lips or the skin.
        right: (2,) float64, unit vector towards the subject's left, which is the image's right in an upright head.
        unit: pixels; about the width of the face.
        patches: every connected piece of the eyes, brows and ears.
    """

    origin: Point
    right: Point
    unit: float
    patches: list[Patch]

    def across(self, point: Point) -> float:
        """Return the distance of `point` from the middle line, face widths, positive on the subject's left."""
        return float((point - self.origin) @ self.right) / self.unit

    @property
    def down(self) -> Point:
        """Unit vector from the eyes to the mouth."""
        return np.array([-self.right[1], self.right[0]])


def find_axes(label: UInt8Array, counts: npt.NDArray[np.int64]) -> Axes:
    """Return the axes of a face that has skin; the line of the eyes, or else of the brows, gives the direction.

    `label` is (H, W) uint8; `counts` are its pixels by class.
    """
    patches = []
    for class_id in (c for pair in PAIRS for c in pair if counts[c]):
        mask = cv2.inRange(label, class_id, class_id)
        x, y, width, height = cv2.boundingRect(mask)  # the whole image would take ten times as long
        _, _, stats, centres = cv2.connectedComponentsWithStats(mask[y : y + height, x : x + width], connectivity=8)
        for centre, area in zip(np.add(centres[1:], (x, y)), stats[1:, cv2.CC_STAT_AREA].tolist(), strict=True):
            patches.append(Patch(class_id, centre, area))
    unit = float(np.sqrt(counts[FACE].sum()))
    nose, lips, skin = (find_centre(label, *classes) for classes in ((NOSE, NOSE), LIPS, (SKIN, SKIN)))
    below = lips if lips is not None else nose
    origin = next(centre for centre in (nose, lips, skin) if centre is not None)
    right = np.array([1.0, 0.0])
    for pair in (EYES, BROWS):
        own = [patch for patch in patches if patch.class_id in pair]
        large = [patch.centre for patch in own if patch.area >= SAME_SIZE * max(patch.area for patch in own)]
        # The two patches farthest apart, unless they belong to one eye.
        ends = max(combinations(large, 2), key=lambda ends: np.linalg.norm(ends[1] - ends[0]), default=None)
        if ends and below is not None and np.linalg.norm(ends[1] - ends[0]) >= APART * unit:
            first, second = ends
            right = (second - first) / np.linalg.norm(second - first)
            # Of the line's two directions, take the one that has the mouth below it.
            if (below - (first + second) / 2) @ np.array([-right[1], right[0]]) < 0:
                right = -right
            break
    return Axes(origin, right, unit, patches)


def find_centre(label: UInt8Array, first: int, last: int) -> Point | None:
    """Return the centre (x, y) of the classes from `first` to `last` in a label (H, W) uint8; None if it has none."""
    moments = cv2.moments(cv2.inRange(label, first, last), binaryImage=True)
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"] if moments["m00"] else None

"""From masks to named landmarks, each with whether it can be seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.contours import Contour
from facekp.images import UInt8Array
from facekp.landmarks.frame import find_frame
from facekp.landmarks.groups import Group, find_groups
from facekp.landmarks.names import NUMBERS
from facekp.landmarks.parts import HABITS, Habits

BESIDE = 0.06
"""How far outside a point to look for what covers it; share of the distance between the eyes' centres."""


@dataclass(frozen=True)
class Landmark:
    """A named point of a face.

    Attributes:
        name: one of `facekp.landmarks.NUMBERS`.
        number: its number in the iBUG 68-point scheme, from 0; None for ears.
        xy: (2,) float32, source-image pixels; None where the attribute that it lies on is not in the picture.
        visible: whether it can be seen. Where hair, a hat, a hand or the head itself covers the place, this is
            False, and `xy` is where the attribute ends in the picture.
        confidence: the least of the attributes' that it was read off, 0..1; 0 without `xy`.
    """

    name: str
    number: int | None
    xy: npt.NDArray[np.float32] | None
    visible: bool
    confidence: float


def find_landmarks(
    mask: UInt8Array,
    contours: Mapping[str, Sequence[Contour]],
    confidence: Mapping[str, float],
    habits: Habits = HABITS,
) -> dict[str, Landmark]:
    """Return every landmark of `NUMBERS` by its name; those that are absent have no `xy`.

    Args:
        mask: (H, W) uint8, class ids.
        contours: of each attribute in the picture, by name, the largest part first.
        confidence: of the same attributes, 0..1.
        habits: constants of the geometry.
    """
    landmarks = {name: Landmark(name, number, None, False, 0.0) for name, number in NUMBERS.items()}
    frame = find_frame(mask.shape, contours)
    groups = list(find_groups(contours, frame, habits))
    if not groups:
        return landmarks
    points = np.concatenate([group.points for group in groups])
    placed = frame.leave(points)
    visible = _visible(mask, groups, placed, BESIDE * frame.unit * frame.turn(_outward(groups, points)))
    names = [name for group in groups for name in group.names]
    sureness = [min(confidence[i] for i in group.read_off) for group in groups for _ in group.names]
    for name, xy, seen, sure in zip(names, placed.astype(np.float32), visible.tolist(), sureness, strict=True):
        landmarks[name] = Landmark(name, NUMBERS[name], xy, seen, sure)
    return landmarks


def _outward(groups: Sequence[Group], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the unit vectors (n, 2) from the groups' centres to their points (n, 2)."""
    centres = np.repeat([group.centre for group in groups], [len(group.points) for group in groups], axis=0)
    away: npt.NDArray[np.float64] = points - centres
    away /= np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)[:, None]
    return away


def _visible(
    mask: UInt8Array, groups: Sequence[Group], points: npt.NDArray[np.float64], step: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Tell for each point (n, 2), image pixels, whether one `step` (n, 2) further on is picture, and no cover."""
    beside = np.rint(points + step).astype(int)
    size = np.array(mask.shape[::-1])
    inside = ((beside >= 0) & (beside < size)).all(1)
    x, y = beside.clip(0, size - 1).T
    covers = np.repeat([group.covers for group in groups], [len(group.points) for group in groups], axis=0)
    visible: npt.NDArray[np.bool_] = inside & ~covers[np.arange(len(points)), mask[y, x]]
    return visible

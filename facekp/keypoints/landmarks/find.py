"""From masks to named landmarks, each with whether it can be seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekp.images import UInt8Array
from facekp.keypoints.landmarks.calibration import Calibration, load_calibration
from facekp.keypoints.landmarks.frame import Array, Contours, Frame, find_frame
from facekp.keypoints.landmarks.groups import Group, find_groups, find_outlines
from facekp.keypoints.landmarks.names import NUMBERS

BESIDE = 0.06
"""How far outside a point to look for what covers it, frame units."""
_FAN = np.radians([-60, -30, 0, 30, 60])
FAN = np.array([[np.cos(_FAN), np.sin(_FAN)], [-np.sin(_FAN), np.cos(_FAN)]]).transpose(2, 0, 1)
"""(5, 2, 2): turns of the direction in which to look."""


@dataclass(frozen=True)
class Landmark:
    """A named point of a face.

    Attributes:
        name: one of `facekp.keypoints.landmarks.NUMBERS`.
        number: its number in the iBUG 68-point scheme, from 0; None for ears.
        xy: (2,) float32, source-image pixels; None where the attribute that it lies on is not in the picture.
        visible: whether it can be seen. Where hair, a hat, a hand, the head itself or the picture's border hides the
            place, this is False, and `xy` is about where the attribute ends in the picture.
        confidence: 0..1: the least of the attributes' that it was read off, times the share of the directions
            outwards in which nothing covers it; 0 without `xy`.
    """

    name: str
    number: int | None
    xy: npt.NDArray[np.float32] | None
    visible: bool
    confidence: float


ABSENT = {name: Landmark(name, number, None, False, 0.0) for name, number in NUMBERS.items()}


def find_landmarks(
    mask: UInt8Array,
    contours: Contours,
    confidence: Mapping[str, float],
    calibration: Calibration | None = None,
) -> dict[str, Landmark]:
    """Return every landmark of `NUMBERS` by its name; those that are absent have no `xy`.

    Args:
        mask: (H, W) uint8, class ids.
        contours: of each attribute in the picture, by name, the largest part first.
        confidence: of the same attributes, 0..1.
        calibration: None: the package's own. `Calibration({}, {})` leaves the points on the masks' edges.
    """
    landmarks = dict(ABSENT)
    frame = find_frame(mask.shape, contours)
    groups, turn = measure(contours, frame)
    if not groups:
        return landmarks
    calibration = calibration or load_calibration()
    moves = np.concatenate([calibration.move(group.part, group.names, group.width, turn) for group in groups])
    points = np.concatenate([group.points for group in groups])
    placed = frame.leave(points + moves).astype(np.float32)
    free = _free(mask, groups, points, frame)
    names = [name for group in groups for name in group.names]
    sureness = [min(confidence[i] for i in group.read_off) for group in groups for _ in group.names]
    for name, xy, share, sure in zip(names, placed, free.tolist(), sureness, strict=True):
        landmarks[name] = Landmark(name, NUMBERS[name], xy, share > 0.5, sure * share)
    return landmarks


def measure(contours: Contours, frame: Frame) -> tuple[list[Group], float]:
    """Return the parts that are in the picture, not calibrated, and the head's turn, both for `Calibration.move`."""
    outlines = find_outlines(contours, frame)
    turn = float(outlines["nose"].centre[0]) if "nose" in outlines else 0.0
    return list(find_groups(contours, outlines, frame)), turn


def _free(mask: UInt8Array, groups: Sequence[Group], points: Array, frame: Frame) -> Array:
    """Tell for each point (n, 2), frame units, in what share of the directions outwards is picture, and no cover."""
    counts = [len(group.points) for group in groups]
    away = points - np.repeat([group.centre for group in groups], counts, axis=0)
    away *= BESIDE / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)[:, None]
    beside = np.rint(frame.leave((points + away @ FAN).reshape(-1, 2))).astype(int)
    size = np.array(mask.shape[::-1])
    inside = ((beside >= 0) & (beside < size)).all(1)
    x, y = beside.clip(0, size - 1).T
    covers = np.repeat([group.covers for group in groups], counts, axis=0)
    uncovered = inside & ~covers[np.tile(np.arange(len(points)), len(FAN)), mask[y, x]]
    share: Array = uncovered.reshape(len(FAN), -1).mean(0)
    return share

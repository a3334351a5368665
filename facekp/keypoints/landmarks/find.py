"""Location and visibility of named landmarks, from a face's outlines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.images import UInt8Array
from facekp.keypoints.contour import Contour
from facekp.keypoints.curves import rounded
from facekp.keypoints.landmarks.axes import Array, Contours, FaceAxes, find_axes
from facekp.keypoints.landmarks.calibration import Calibration, load_calibration
from facekp.keypoints.landmarks.groups import Group, measure
from facekp.keypoints.landmarks.names import NUMBERS

BESIDE = 0.06
"""Distance beyond a point, face units, at which to look for classes that cover it."""
_FAN = np.radians([-60, -30, 0, 30, 60])
FAN = np.array([[np.cos(_FAN), np.sin(_FAN)], [-np.sin(_FAN), np.cos(_FAN)]]).transpose(2, 0, 1)
"""(5, 2, 2): rotations of the direction in which to look."""


@dataclass(frozen=True, eq=False)
class Landmark:
    """A named point of a face.

    Attributes:
        name: one of `facekp.keypoints.landmarks.NUMBERS`.
        number: its number in the iBUG 68-point scheme, from 0; None for ears.
        xy: (2,) float32, source-image pixels; None if the attribute it lies on is not in the picture.
        visible: whether it can be seen. If hair, a hat, a hand, the head itself or the picture's border hides the
            place, this is False, and `xy` is near the visible end of the attribute.
        confidence: 0..1; the lowest confidence of the attributes it was read off, times the share of outward directions
            in which nothing covers it; 0 without `xy`.
    """

    name: str
    number: int | None
    xy: npt.NDArray[np.float32] | None
    visible: bool
    confidence: float

    def __repr__(self) -> str:
        place = "absent" if self.xy is None else f"({self.xy[0]:.1f}, {self.xy[1]:.1f})"
        hidden = "" if self.visible or self.xy is None else ", hidden"
        return f"Landmark({self.name}, {place}{hidden}, confidence={self.confidence:.2f})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; docs/reference/formats.md describes it."""
        return {
            "name": self.name,
            "number": self.number,
            "xy": None if self.xy is None else rounded(self.xy).tolist(),
            "visible": self.visible,
            "confidence": round(self.confidence, 4),
        }


def find_landmarks(
    mask: UInt8Array,
    contours: Contours,
    confidence: Mapping[str, float],
    calibration: Calibration | None = None,
    classes: Classes = CELEBAMASK_HQ,
) -> dict[str, Landmark]:
    """Return every landmark of `NUMBERS` by its name; absent ones have no `xy`.

    Args:
        mask: (H, W) uint8, class ids.
        contours: outlines of each attribute in the picture by name, the largest part first.
        confidence: confidence of the same attributes, 0..1.
        calibration: None selects the package's own; `Calibration({}, {})` leaves the points on the masks' edges.
        classes: those of the mask; landmarks are read off the classes that show the parts of a face.
    """
    landmarks = {name: Landmark(name, number, None, False, 0.0) for name, number in NUMBERS.items()}
    contours, confidence = of_parts(contours, confidence, classes)
    axes = find_axes(mask.shape, contours)
    groups, turn = measure(contours, axes)
    if not groups:
        return landmarks
    calibration = calibration or load_calibration()
    moves = np.concatenate([calibration.move(group.part, group.names, group.width, turn) for group in groups])
    points = np.concatenate([group.points for group in groups])
    placed = axes.to_image(points + moves).astype(np.float32)
    uncovered = _uncovered_share(mask, groups, points, axes, classes)
    names = [name for group in groups for name in group.names]
    sureness = [min(confidence[i] for i in group.read_off) for group in groups for _ in group.names]
    for name, xy, share, sure in zip(names, placed, uncovered.tolist(), sureness, strict=True):
        landmarks[name] = Landmark(name, NUMBERS[name], xy, share > 0.5, sure * share)
    return landmarks


def of_parts(
    contours: Contours, confidence: Mapping[str, float], classes: Classes
) -> tuple[Contours, dict[str, float]]:
    """Return the outlines and the confidence of each part of a face from those of the classes that show it.

    A part has the outlines of all its classes, the largest first. A class that shows several parts, such as both eyes,
    shows none here, because its outlines do not tell them apart.
    """
    shown = [name for names in classes.parts.values() for name in names]
    found: dict[str, list[Contour]] = {}
    sure: dict[str, float] = {}
    for part, names in classes.parts.items():
        if own := [name for name in names if name in contours and shown.count(name) == 1]:
            found[part] = sorted((c for name in own for c in contours[name]), key=lambda c: (c.hole, -c.area))
            sure[part] = min(confidence[name] for name in own)
    return found, sure


def _uncovered_share(
    mask: UInt8Array, groups: Sequence[Group], points: Array, axes: FaceAxes, classes: Classes
) -> Array:
    """Return each point's share of outward directions that are in the picture and uncovered; (n, 2) in face units."""
    counts = [len(group.points) for group in groups]
    away = points - np.repeat([group.centre for group in groups], counts, axis=0)
    away *= BESIDE / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)[:, None]
    beside = np.rint(axes.to_image((points + away @ FAN).reshape(-1, 2))).astype(int)
    size = np.array(mask.shape[::-1])
    inside = ((beside >= 0) & (beside < size)).all(1)
    x, y = beside.clip(0, size - 1).T
    covers = np.repeat([group.covers.of(classes) for group in groups], counts, axis=0)
    uncovered = inside & ~covers[np.tile(np.arange(len(points)), len(FAN)), mask[y, x]]
    return uncovered.reshape(len(FAN), -1).mean(0)

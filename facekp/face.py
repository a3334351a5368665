"""What a parsed face is: its mask, and every attribute's outline and key points."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.attributes import ATTRIBUTES
from facekp.contours import Contour, Points, trace_all
from facekp.keypoints import KeypointConfig, resample
from facekp.landmarks import Landmark, find_landmarks

SCHEMA: Final = "facekp/1"
"""Version of `Face.to_dict`, described in docs/output.md."""
DECIMALS: Final = 2


@dataclass(frozen=True)
class Attribute:
    """One attribute that is in the picture.

    Attributes:
        name: one of `facekp.attributes.ATTRIBUTES`.
        id: its official id, 1..18.
        area: pixels of the source image that its mask covers.
        confidence: mean probability of the attribute over its mask, 0..1; softmax of the summed scores.
        contours: outlines in source-image pixels, parts before holes, each from large to small.
        keypoints: (n, 2) float32, source-image pixels, x then y: evenly spaced along the largest contour, clockwise,
            from where it crosses the vertical through its centroid for the topmost time.
    """

    name: str
    id: int
    area: int
    confidence: float
    contours: tuple[Contour, ...]
    keypoints: Points


@dataclass(frozen=True)
class Face:
    """A parsed face.

    Attributes:
        mask: (H, W) uint8, official class ids, at the source image's size.
        attributes: what is in the picture, by name, in the order of the ids; background is left out.
        box: x0, y0, x1, y1 in source-image pixels: the part of the image that was parsed.
    """

    mask: npt.NDArray[np.uint8]
    attributes: dict[str, Attribute]
    box: tuple[float, float, float, float]

    @property
    def keypoints(self) -> dict[str, Points]:
        """Return the key points, (n, 2) float32 source-image pixels, of every attribute in the picture."""
        return {name: attribute.keypoints for name, attribute in self.attributes.items()}

    @cached_property
    def landmarks(self) -> dict[str, Landmark]:
        """Return every landmark of `facekp.landmarks.NUMBERS` by name; what is absent or hidden says so."""
        contours = {name: attribute.contours for name, attribute in self.attributes.items()}
        return find_landmarks(self.mask, contours, {name: a.confidence for name, a in self.attributes.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the mask as plain data for JSON; docs/output.md describes it."""
        height, width = self.mask.shape
        return {
            "schema": SCHEMA,
            "width": width,
            "height": height,
            "box": [round(v, DECIMALS) for v in self.box],
            "attributes": [_attribute_to_dict(a) for a in self.attributes.values()],
            "landmarks": [_landmark_to_dict(landmark) for landmark in self.landmarks.values()],
        }


def face_from_mask(mask: npt.NDArray[np.uint8], confidence: dict[int, float], keypoints: KeypointConfig) -> Face:
    """Trace every attribute of a mask.

    Args:
        mask: (H, W) uint8, official class ids.
        confidence: of each id in the mask, 0..1.
        keypoints: how many points, and which parts are too small.
    """
    height, width = mask.shape
    areas = cv2.calcHist([mask], [0], None, [len(ATTRIBUTES)], [0, len(ATTRIBUTES)])[:, 0]
    attributes = {}
    for i, contours in trace_all(mask, keypoints.min_area * height * width).items():
        if not contours[0].hole:
            name, points = ATTRIBUTES[i], resample(contours[0].points, keypoints.n)
            attributes[name] = Attribute(name, i, int(areas[i]), confidence[i], tuple(contours), points)
    return Face(mask, attributes, (0.0, 0.0, float(width), float(height)))


def _attribute_to_dict(attribute: Attribute) -> dict[str, Any]:
    return {
        "name": attribute.name,
        "id": attribute.id,
        "area": attribute.area,
        "confidence": round(attribute.confidence, 4),
        "contours": [
            {"hole": c.hole, "area": round(c.area, DECIMALS), "points": _plain(c.points)} for c in attribute.contours
        ],
        "keypoints": _plain(attribute.keypoints),
    }


def _landmark_to_dict(landmark: Landmark) -> dict[str, Any]:
    return {
        "name": landmark.name,
        "number": landmark.number,
        "xy": None if landmark.xy is None else _plain(landmark.xy[None])[0],
        "visible": landmark.visible,
        "confidence": round(landmark.confidence, 4),
    }


def _plain(points: Points) -> list[list[float]]:
    # In float64, or 0.1 would be written with all the digits of the float32 next to it.
    plain: list[list[float]] = points.astype(np.float64).round(DECIMALS).tolist()
    return plain

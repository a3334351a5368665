"""What a parsed face is: its mask, and every attribute's outline and key points."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES
from facekp.keypoints.curves import Curve
from facekp.keypoints.landmarks import Landmark, find_landmarks
from facekp.keypoints.outlines import Contour, Points, trace_all
from facekp.keypoints.resample import KeypointConfig, resample
from facekp.keypoints.score_grid import Scores

SCHEMA: Final = "facekp/2"
"""Version of NAME.json and of `Face.to_dict`, described in docs/reference/formats.md."""
DECIMALS: Final = 2


@dataclass(frozen=True)
class Attribute:
    """One attribute that is in the picture.

    Attributes:
        name: one of `facekp.classes.ATTRIBUTES`; `l_` and `r_` are the person's own left and right.
        id: its official id in CelebAMask-HQ, 1..18.
        area: pixels of the source image that its mask covers.
        confidence: mean probability of the attribute over its mask, 0..1; softmax of the summed scores.
        contours: outlines in source-image pixels, parts before holes, each from large to small.
        keypoints: (n, 2) float32, source-image pixels, x then y: evenly spaced along the largest contour, clockwise,
            from where it crosses the vertical through its centroid for the topmost time. What of it runs along the
            image's border is left out, see `facekp.keypoints.resample.resample`.

    Example:
        A block of 20 x 10 pixels, whose upper left pixel is (x, y) = (30, 40).

        >>> mask = np.zeros((100, 100), np.uint8)
        >>> mask[40:50, 30:50] = 2
        >>> nose = face_from_mask(mask, {2: 0.9}, KeypointConfig(n=4)).attributes["nose"]
        >>> nose.id, nose.area, nose.confidence, [contour.hole for contour in nose.contours]
        (2, 200, 0.9, [False])
        >>> clockwise = [(39.5, 39.5), (49.5, 44.5), (39.5, 49.5), (29.5, 44.5)]  # from the middle of the upper edge
        >>> np.allclose(nose.keypoints, clockwise, atol=0.2)
        True
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

    Coordinates are (x, y) in pixels of the source image, turned upright by its EXIF tag; the centre of the top left
    pixel is (0, 0).

    Attributes:
        mask: (H, W) uint8, official class ids, at the source image's size; 0 is background.
        attributes: what is in the picture, by name, in the order of the ids; background is left out.
        box: x0, y0, x1, y1 in source-image pixels: the part of the image that was parsed; of a turned face the upright
            rectangle around that.
        smoothed: what `landmarks` gives, in a video: smoothed over its frames; None: they are read off this mask alone.

    Example:
        >>> mask = np.zeros((100, 80), np.uint8)
        >>> mask[10:90, 10:70], mask[40:60, 30:50] = 1, 2
        >>> face = face_from_mask(mask, {1: 0.8, 2: 0.9}, KeypointConfig(n=32))
        >>> list(face.attributes), face.keypoints["nose"].shape, face.box
        (['skin', 'nose'], (32, 2), (0.0, 0.0, 80.0, 100.0))
        >>> [contour.hole for contour in face.attributes["skin"].contours]  # the nose lies in it
        [False, True]
    """

    mask: npt.NDArray[np.uint8]
    attributes: dict[str, Attribute]
    box: tuple[float, float, float, float]
    smoothed: dict[str, Landmark] | None = None

    @property
    def keypoints(self) -> dict[str, Points]:
        """Return the key points, (n, 2) float32 source-image pixels, of every attribute in the picture."""
        return {name: attribute.keypoints for name, attribute in self.attributes.items()}

    @cached_property
    def landmarks(self) -> dict[str, Landmark]:
        """Return every landmark of `facekp.keypoints.landmarks.NUMBERS` by name; what is absent or hidden says so."""
        if self.smoothed is not None:
            return self.smoothed
        contours = {name: attribute.contours for name, attribute in self.attributes.items()}
        return find_landmarks(self.mask, contours, {name: a.confidence for name, a in self.attributes.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the mask as plain data for JSON; docs/reference/formats.md describes it."""
        return {
            "box": [round(v, DECIMALS) for v in self.box],
            "attributes": [_attribute_to_dict(a) for a in self.attributes.values()],
            "landmarks": [_landmark_to_dict(landmark) for landmark in self.landmarks.values()],
        }


def face_from_mask(
    mask: npt.NDArray[np.uint8], confidence: dict[int, float], keypoints: KeypointConfig, grid: Scores | None = None
) -> Face:
    """Trace every attribute of a mask.

    Args:
        mask: (H, W) uint8, official class ids.
        confidence: of each id in the mask, 0..1.
        keypoints: how outlines are found, how many points, and which parts are too small.
        grid: the scores behind the mask, see `facekp.keypoints.outlines.trace_all`.
    """
    height, width = mask.shape
    areas = cv2.calcHist([mask], [0], None, [len(ATTRIBUTES)], [0, len(ATTRIBUTES)])[:, 0]
    attributes = {}
    for i, contours in trace_all(mask, keypoints.min_area * height * width, keypoints.method, grid).items():
        if not contours[0].hole:
            name, points = ATTRIBUTES[i], resample(contours[0].points, keypoints.n, contours[0].cut)
            attributes[name] = Attribute(name, i, int(areas[i]), confidence[i], tuple(contours), points)
    return Face(mask, attributes, (0.0, 0.0, float(width), float(height)))


def merge_masks(faces: Sequence[Face], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return one mask (H, W) uint8 of several faces of a photo; where they overlap, the earlier face wins."""
    mask = np.zeros(size, np.uint8)
    for face in faces:
        np.copyto(mask, face.mask, where=mask == 0)
    return mask


def _attribute_to_dict(attribute: Attribute) -> dict[str, Any]:
    return {
        "name": attribute.name,
        "id": attribute.id,
        "area": attribute.area,
        "confidence": round(attribute.confidence, 4),
        "contours": [_contour_to_dict(contour) for contour in attribute.contours],
        "keypoints": rounded(attribute.keypoints).tolist(),
    }


def _contour_to_dict(contour: Contour) -> dict[str, Any]:
    plain = {"hole": contour.hole, "area": round(contour.area, DECIMALS), "points": rounded(contour.points).tolist()}
    if contour.cut.any():
        # Where cut begins and where it ends; as it begins uncut unless all of it is cut, no run goes over the end.
        turns = np.flatnonzero(np.diff(contour.cut, prepend=False, append=False))
        plain["cut"] = turns.reshape(-1, 2).tolist()
    return plain


def _landmark_to_dict(landmark: Landmark) -> dict[str, Any]:
    return {
        "name": landmark.name,
        "number": landmark.number,
        "xy": None if landmark.xy is None else rounded(landmark.xy[None]).tolist()[0],
        "visible": landmark.visible,
        "confidence": round(landmark.confidence, 4),
    }


def rounded(points: Points) -> Curve:
    """Return points (m, 2) to a hundredth, as files hold them."""
    # In float64, or 0.1 would be written with all the digits of the float32 next to it.
    return points.astype(np.float64).round(DECIMALS)

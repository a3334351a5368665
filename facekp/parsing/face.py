"""Parsed faces: the mask, and every attribute's outlines, key points and landmarks."""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from facekp.classes import ATTRIBUTES
from facekp.images import UInt8Array
from facekp.keypoints.curves import DECIMALS, Points
from facekp.keypoints.landmarks.find import Landmark, find_landmarks
from facekp.keypoints.outlines import trace
from facekp.keypoints.resample import resample
from facekp.keypoints.score_grid import Scores
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.attribute import Attribute
from facekp.parsing.face_crop import Crop, window
from facekp.parsing.overlay import draw_overlay

SCHEMA: Final = "facekp/2"
"""Version of NAME.json and of `Face.to_dict`, described in docs/reference/formats.md."""


@dataclass(frozen=True, eq=False)
class Face:
    """A parsed face. A notebook shows it as its overlay.

    Coordinates are (x, y) in pixels of the source image, turned upright by its EXIF tag; the centre of the top left
    pixel is (0, 0).

    Attributes:
        mask: (H, W) uint8, official class ids, at the source image's size; 0 is background.
        attributes: the attributes in the picture, by name, in the order of the ids, without background.
        box: x0, y0, x1, y1 in source-image pixels of the part of the image that was parsed; for a turned face, of its
            upright bounding rectangle.
        image: (H, W, 3) uint8 RGB, the source image, shared with other faces in it; None for a face made of a mask.

    Example:
        >>> mask = np.zeros((100, 80), np.uint8)
        >>> mask[10:90, 10:70], mask[40:60, 30:50] = 1, 2
        >>> face = face_from_mask(mask, {1: 0.8, 2: 0.9}, KeypointConfig(n=32))
        >>> face
        Face(80x100, 2 attributes, box=(0, 0, 80, 100))
        >>> list(face.attributes), face.keypoints["nose"].shape
        (['skin', 'nose'], (32, 2))
        >>> face.attributes["skin"].contours  # the nose lies in it
        (Contour(281 points, area=4799), Contour(81 points, area=399, hole))
    """

    mask: UInt8Array
    attributes: dict[str, Attribute]
    box: tuple[float, float, float, float]
    image: UInt8Array | None = None

    @property
    def keypoints(self) -> dict[str, Points]:
        """Return the key points, (n, 2) float32 source-image pixels, of every attribute in the picture."""
        return {name: attribute.keypoints for name, attribute in self.attributes.items()}

    @cached_property
    def landmarks(self) -> dict[str, Landmark]:
        """Return every landmark of `facekp.keypoints.landmarks.NUMBERS` by name, absent and hidden ones too."""
        contours = {name: attribute.contours for name, attribute in self.attributes.items()}
        return find_landmarks(self.mask, contours, {name: a.confidence for name, a in self.attributes.items()})

    def to_photo(self, crop: Crop, image: UInt8Array, keypoints: KeypointConfig) -> "Face":
        """Return a face that was parsed in a crop as one in its photo.

        Args:
            crop: the part of the photo that this mask (s, s) covers.
            image: (H, W, 3) uint8 RGB, the photo.
            keypoints: the number of key points of each attribute.

        Returns:
            The face with its mask (H, W), outlines and key points in pixels of the photo. Parts beyond the photo's
            border, or smaller than one of its pixels, are dropped.
        """
        size, matrix = (image.shape[0], image.shape[1]), crop.matrix(len(self.mask))
        left, top, right, bottom = window(crop, size)
        shifted = matrix - np.array([[0, 0, left], [0, 0, top]])
        mask = np.zeros(size, np.uint8)
        mask[top:bottom, left:right] = cv2.warpAffine(
            self.mask, shifted, (right - left, bottom - top), flags=cv2.INTER_NEAREST
        )
        areas, least, attributes = _areas(mask), keypoints.min_area * crop.side**2, {}
        for name, own in self.attributes.items():
            moved = [contour.moved(matrix, size) for contour in own.contours]
            contours = sorted((c for c in moved if c.area > 0 and c.area >= least), key=lambda c: (c.hole, -c.area))
            if areas[own.id] and contours and not contours[0].hole:
                points = resample(contours[0].points, keypoints.n, contours[0].cut)
                attributes[name] = Attribute(name, own.id, areas[own.id], own.confidence, tuple(contours), points)
        return Face(mask, attributes, crop.box(size), image)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pixels as plain data for JSON; docs/reference/formats.md describes it."""
        return {
            "box": [round(v, DECIMALS) for v in self.box],
            "attributes": [attribute.to_dict() for attribute in self.attributes.values()],
            "landmarks": [landmark.to_dict() for landmark in self.landmarks.values()],
        }

    def __repr__(self) -> str:
        height, width = self.mask.shape
        box = ", ".join(f"{v:.0f}" for v in self.box)
        return f"Face({width}x{height}, {len(self.attributes)} attributes, box=({box}))"

    def _repr_png_(self) -> bytes:
        """Return the overlay as a PNG, which notebooks show; on black without an image."""
        image = np.zeros((*self.mask.shape, 3), np.uint8) if self.image is None else self.image
        png = BytesIO()
        Image.fromarray(draw_overlay(image, [self])).save(png, format="PNG")
        return png.getvalue()


def face_from_mask(
    mask: UInt8Array, confidence: dict[int, float], keypoints: KeypointConfig, grid: Scores | None = None
) -> Face:
    """Trace every attribute of a mask.

    Args:
        mask: (H, W) uint8, official class ids.
        confidence: of each id in the mask, 0..1.
        keypoints: how to trace outlines, the number of key points, and the size of parts to drop.
        grid: the scores behind the mask, see `facekp.keypoints.outlines.trace`.
    """
    height, width = mask.shape
    areas, least, attributes = _areas(mask), keypoints.min_area * height * width, {}
    for i, contours in trace(mask, method=keypoints.method, min_area=least, grid=grid).items():
        if not contours[0].hole:
            name, points = ATTRIBUTES[i], resample(contours[0].points, keypoints.n, contours[0].cut)
            attributes[name] = Attribute(name, i, areas[i], confidence[i], tuple(contours), points)
    return Face(mask, attributes, (0.0, 0.0, float(width), float(height)))


def _areas(mask: UInt8Array) -> list[int]:
    """Return the pixels of each class in a mask."""
    counts = cv2.calcHist([mask], [0], None, [len(ATTRIBUTES)], [0, len(ATTRIBUTES)])
    return [int(count) for count in counts[:, 0]]

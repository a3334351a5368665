"""Faces that were parsed in crops of a photo, put back into it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from facekp.classes import ATTRIBUTES
from facekp.images import UInt8Array
from facekp.keypoints.resample import KeypointConfig, resample
from facekp.keypoints.score_grid import Scores
from facekp.parsing.face import Attribute, Face
from facekp.parsing.face_crop import Crop, window

# How steeply background gains on all classes across the line between two faces: scores differ by tens, and this is by a
# hundred within a hundredth of a crop's side.
STEEP: Final = 1e4


def give_way(grid: Scores, crop: Crop, others: Sequence[Crop]) -> Scores:
    """Return scores of a crop in which background wins wherever the face of another crop is nearer.

    Otherwise the largest left eye in a crop might be a neighbour's. Near is measured from the middles of the crops, in
    units of their sides: so a large face gives way to a small one beside it only around that one.

    Args:
        grid: (n, n, 19) float32, from corner to corner of the crop, as `score_grid.sum_on_grid` gives it.
        crop: what it covers.
        others: the crops of the other faces.
    """
    if not others:
        return grid
    at = np.linspace(0, 1, len(grid))
    points = crop.origin + crop.edge * (at + 1j * at[:, None])
    own, *theirs = (abs(points - one.middle) ** 2 / one.side**2 for one in (crop, *others))
    lead = (np.min(theirs, axis=0) - own).astype(np.float32)
    given = grid.copy()
    np.maximum(grid[..., 0], grid.max(2) - STEEP * lead, out=given[..., 0])
    return given


def place(face: Face, crop: Crop, size: tuple[int, int], keypoints: KeypointConfig) -> Face:
    """Put a face back into its photo.

    Args:
        face: what was traced in the crop, in the pixels of its mask (s, s).
        crop: where that is.
        size: (H, W) of the photo.
        keypoints: how many points each attribute has.

    Returns:
        The face with mask (H, W), outlines and key points in pixels of the photo. What lies beyond the photo's border,
        or is smaller than a pixel of it, is left out.
    """
    mask = _place_mask(face.mask, crop, size)
    areas = cv2.calcHist([mask], [0], None, [len(ATTRIBUTES)], [0, len(ATTRIBUTES)])[:, 0]
    moved = (_place_attribute(own, crop, face, size, keypoints, int(areas[own.id])) for own in face.attributes.values())
    return Face(mask, {own.name: own for own in moved if own is not None}, crop.box(size))


def _place_mask(mask: UInt8Array, crop: Crop, size: tuple[int, int]) -> UInt8Array:
    left, top, right, bottom = window(crop, size)
    matrix = crop.matrix(len(mask))
    matrix[:, 2] -= left, top
    placed = np.zeros(size, np.uint8)
    placed[top:bottom, left:right] = cv2.warpAffine(mask, matrix, (right - left, bottom - top), flags=cv2.INTER_NEAREST)
    return placed


def _place_attribute(
    attribute: Attribute, crop: Crop, face: Face, size: tuple[int, int], keypoints: KeypointConfig, area: int
) -> Attribute | None:
    matrix = crop.matrix(len(face.mask))
    least = keypoints.min_area * crop.side**2
    moved = [contour.moved(matrix, size) for contour in attribute.contours]
    contours = sorted((c for c in moved if c.area > 0 and c.area >= least), key=lambda c: (c.hole, -c.area))
    if not area or not contours or contours[0].hole:
        return None
    points = resample(contours[0].points, keypoints.n, contours[0].cut)
    return replace(attribute, area=area, contours=tuple(contours), keypoints=points)

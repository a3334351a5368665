"""Placing faces that were parsed in crops back into their photo."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from facekp.classes import ATTRIBUTES
from facekp.images import UInt8Array
from facekp.keypoints.resample import resample
from facekp.keypoints.score_grid import Scores
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.attribute import Attribute
from facekp.parsing.face import Face
from facekp.parsing.face_crop import Crop, window

# Slope of background's lead across the line between two faces. Scores differ by tens; this is a hundred within a
# hundredth of a crop's side.
SLOPE: Final = 1e4


def suppress_neighbours(grid: Scores, crop: Crop, others: Sequence[Crop]) -> Scores:
    """Return scores of a crop in which background wins wherever the face of another crop is nearer.

    Otherwise the largest left eye in a crop might be a neighbour's. Distances are measured from the middles of the
    crops, relative to their sides: so a small face beside a large one takes only its surroundings from it.

    Args:
        grid: (n, n, 19) float32, from corner to corner of the crop, from `score_grid.sum_on_grid`.
        crop: the crop of `grid`.
        others: the crops of the other faces.
    """
    if not others:
        return grid
    at = np.linspace(0, 1, len(grid))
    points = crop.origin + crop.edge * (at + 1j * at[:, None])
    own, *theirs = (abs(points - one.middle) ** 2 / one.side**2 for one in (crop, *others))
    lead = (np.min(theirs, axis=0) - own).astype(np.float32)
    suppressed = grid.copy()
    np.maximum(grid[..., 0], grid.max(2) - SLOPE * lead, out=suppressed[..., 0])
    return suppressed


def to_photo(face: Face, crop: Crop, image: UInt8Array, keypoints: KeypointConfig) -> Face:
    """Place a face that was parsed in a crop into its photo.

    Args:
        face: traced in the crop, in the pixels of its mask (s, s).
        crop: its place in the photo.
        image: (H, W, 3) uint8 RGB, the photo.
        keypoints: the number of key points of each attribute.

    Returns:
        The face with its mask (H, W), outlines and key points in pixels of the photo. Parts beyond the photo's border,
        or smaller than one of its pixels, are dropped.
    """
    size = (image.shape[0], image.shape[1])
    mask = _warp_mask(face.mask, crop, size)
    areas = cv2.calcHist([mask], [0], None, [len(ATTRIBUTES)], [0, len(ATTRIBUTES)])[:, 0]
    matrix, least = crop.matrix(len(face.mask)), keypoints.min_area * crop.side**2
    attributes = {}
    for name, own in face.attributes.items():
        moved = [contour.moved(matrix, size) for contour in own.contours]
        contours = sorted((c for c in moved if c.area > 0 and c.area >= least), key=lambda c: (c.hole, -c.area))
        if areas[own.id] and contours and not contours[0].hole:
            points = resample(contours[0].points, keypoints.n, contours[0].cut)
            attributes[name] = Attribute(name, own.id, int(areas[own.id]), own.confidence, tuple(contours), points)
    return Face(mask, attributes, crop.box(size), image)


def _warp_mask(mask: UInt8Array, crop: Crop, size: tuple[int, int]) -> UInt8Array:
    left, top, right, bottom = window(crop, size)
    matrix = crop.matrix(len(mask))
    matrix[:, 2] -= left, top
    placed = np.zeros(size, np.uint8)
    placed[top:bottom, left:right] = cv2.warpAffine(mask, matrix, (right - left, bottom - top), flags=cv2.INTER_NEAREST)
    return placed

"""Outlines as polygons, for formats whose origin is the corner of the top left pixel, not its centre."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from facekp.keypoints.contour import Contour
from facekp.keypoints.curves import Points

TOLERANCE: Final = 0.25
"""Largest distance, in pixels, of an outline from its polygon."""
CORNER: Final = np.float32(0.5)
"""Offset from coordinates whose origin is a pixel's centre to those whose origin is its corner."""


def polygon(points: Points) -> Points:
    """Simplify a closed outline (m, 2) to within `TOLERANCE` pixels, and move its origin to the pixel's corner.

    Example:
        >>> square = np.array([[0, 0], [4, 0], [9, 0], [9, 9], [0, 9]], np.float32)
        >>> polygon(square).tolist()
        [[0.5, 0.5], [9.5, 0.5], [9.5, 9.5], [0.5, 9.5]]
    """
    fewer = cv2.approxPolyDP(points, TOLERANCE, True)[:, 0]
    return np.asarray(fewer if len(fewer) > 2 else points, np.float32) + CORNER


def keyholed(contours: Sequence[Contour]) -> list[Points]:
    """Return one polygon (m, 2) per part, with its holes cut out through slits of zero width.

    For formats whose polygons have no holes: every fill rule leaves the holes empty. The origin is the pixel's corner.
    """
    rings = [polygon(c.points) for c in contours if not c.hole]
    for hole in (polygon(c.points) for c in contours if c.hole):
        depths = [cv2.pointPolygonTest(ring, hole[0].tolist(), True) for ring in rings]
        around = int(np.argmax(depths))
        rings[around] = _slit(rings[around], hole)
    return rings


def _slit(ring: Points, hole: Points) -> Points:
    """Return the ring with a slit into the hole, around it and back, between their nearest vertices."""
    apart = np.square(ring[:, None] - hole[None]).sum(2)
    i, j = np.unravel_index(apart.argmin(), apart.shape)
    return np.concatenate([ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]])

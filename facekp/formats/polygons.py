"""Outlines as polygons for formats whose coordinate 0 is the top left pixel's corner, not its centre."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from facekp.keypoints.curves import Points
from facekp.keypoints.outlines import Contour

TOLERANCE: Final = 0.25
"""How far, in pixels, an outline may lie from the polygon that stands for it."""
CORNER: Final = np.float32(0.5)
"""From the frame where a pixel's centre is (0, 0) to the one where its corner is."""


def polygon(points: Points) -> Points:
    """Return a closed outline (m, 2) with fewer vertices, none of its points more than `TOLERANCE` off, corner frame.

    Example:
        >>> square = np.array([[0, 0], [4, 0], [9, 0], [9, 9], [0, 9]], np.float32)
        >>> polygon(square).tolist()
        [[0.5, 0.5], [9.5, 0.5], [9.5, 9.5], [0.5, 9.5]]
    """
    fewer = cv2.approxPolyDP(points, TOLERANCE, True)[:, 0]
    return np.asarray(fewer if len(fewer) > 2 else points, np.float32) + CORNER


def keyholed(contours: Sequence[Contour]) -> list[Points]:
    """Return a polygon (m, 2), corner frame, for each part, with its holes cut out through slits of no width.

    For formats whose polygons have no holes: any rule of filling leaves the holes empty.
    """
    rings = [polygon(c.points) for c in contours if not c.hole]
    for hole in (polygon(c.points) for c in contours if c.hole):
        depths = [cv2.pointPolygonTest(ring, hole[0].tolist(), True) for ring in rings]
        around = int(np.argmax(depths))
        rings[around] = _slit(rings[around], hole)
    return rings


def _slit(ring: Points, hole: Points) -> Points:
    """Return the ring with a way into the hole, around it and back, between the vertices that are nearest."""
    apart = np.square(ring[:, None] - hole[None]).sum(2)
    i, j = np.unravel_index(apart.argmin(), apart.shape)
    return np.concatenate([ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]])

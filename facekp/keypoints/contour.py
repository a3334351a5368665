"""Contours: closed outlines of the parts of a mask, and of the holes in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facekp.keypoints.curves import DECIMALS, Curve, Flags, Loop, Points, anchored, on_border, rounded, signed_area


@dataclass(frozen=True, eq=False)
class Contour:
    """A closed outline of one connected part of a mask, or of a hole in it.

    Attributes:
        points: (m, 2) float32 pixels, in order; the last point is followed by the first. Clockwise as seen in the
            image, counter-clockwise for a hole. The first point is the anchor (see `curves.anchored`); if the anchor
            lies on the image's border, it is the next point clockwise that does not.
        area: enclosed area in pixels.
        hole: whether it bounds a hole.
        cut: (m,) bool, whether the piece from each point to the next runs along the border of the image, or of the part
            of it that was parsed. There the picture ends, not the attribute.
    """

    points: Points
    area: float
    hole: bool
    cut: Flags

    def __repr__(self) -> str:
        return f"Contour({len(self.points)} points, area={self.area:.0f}{', hole' if self.hole else ''})"

    @classmethod
    def from_loops(cls, loops: Sequence[Loop], size: tuple[int, int]) -> Iterator["Contour"]:
        """Orient loops in an image of `size` (H, W), and choose their first points."""
        for loop, (points, area) in zip(loops, anchored([loop.curve for loop in loops]), strict=True):
            if loop.hole:  # the other way round, from the same anchor
                points = np.concatenate([points[:1], points[:0:-1]])
            points, cut = _start_off_border(points, on_border(points, size))
            yield cls(points.astype(np.float32), area, loop.hole, cut)

    def moved(self, matrix: npt.NDArray[np.floating], size: tuple[int, int]) -> "Contour":
        """Map the outline from a crop to its photo, clipped at the photo's border.

        The first point stays first, so a tilted face has its key points at the same places as an upright one. The area
        is 0 if the whole outline lies outside the photo.

        Args:
            matrix: (2, 3) float, similarity transform from pixels of the crop to pixels of the photo, not mirrored.
            size: (H, W) of the photo.
        """
        height, width = size
        points = (self.points @ matrix[:, :2].T + matrix[:, 2]).clip(-0.5, (width - 0.5, height - 0.5))
        points, cut = _start_off_border(points, self.cut | on_border(points, size))
        return Contour(points.astype(np.float32), abs(signed_area(points)), self.hole, cut)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; docs/reference/formats.md describes it."""
        plain = {"hole": self.hole, "area": round(self.area, DECIMALS), "points": rounded(self.points).tolist()}
        if self.cut.any():
            # Start and end of each run. A contour starts uncut unless all of it is cut, so no run wraps around.
            turns = np.flatnonzero(np.diff(self.cut, prepend=False, append=False))
            plain["cut"] = turns.reshape(-1, 2).tolist()
        return plain


def _start_off_border(points: Curve, cut: Flags) -> tuple[Curve, Flags]:
    """Rotate a curve that starts on the border to start where it leaves the border."""
    start = int(cut.argmin())  # 0 if all of it is cut
    return (np.roll(points, -start, 0), np.roll(cut, -start)) if start else (points, cut)

"""One attribute of a parsed face."""

from dataclasses import dataclass
from typing import Any

from facekp.keypoints.contour import Contour
from facekp.keypoints.curves import Points, rounded


@dataclass(frozen=True, eq=False)
class Attribute:
    """An attribute present in the image.

    Attributes:
        name: one of `Face.classes`; `l_` and `r_` are the person's own left and right.
        id: its id, above 0.
        area: pixels of its mask in the source image.
        confidence: mean probability of the attribute over its mask, 0..1; softmax of the summed scores.
        contours: outlines in source-image pixels, parts before holes, each from large to small.
        keypoints: (n, 2) float32, source-image pixels, x then y: evenly spaced along the largest contour, clockwise
            from its topmost crossing of the vertical through its centroid. They skip pieces on the image's border; see
            `facekp.keypoints.resample.resample`.
    """

    name: str
    id: int
    area: int
    confidence: float
    contours: tuple[Contour, ...]
    keypoints: Points

    def __repr__(self) -> str:
        contours = f"{len(self.contours)} contour{'s' * (len(self.contours) != 1)}"
        points = f"{len(self.keypoints)} key points"
        return f"Attribute({self.name}, area={self.area}, confidence={self.confidence:.2f}, {contours}, {points})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; docs/reference/formats.md describes it."""
        plain = {"name": self.name, "id": self.id, "area": self.area, "confidence": round(self.confidence, 4)}
        contours = [contour.to_dict() for contour in self.contours]
        return plain | {"contours": contours, "keypoints": rounded(self.keypoints).tolist()}

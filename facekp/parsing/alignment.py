"""Aligning crops as CelebA-HQ does: by the eyes, nose and mouth of a face."""

from collections.abc import Iterable, Mapping
from typing import Final

import cv2
import numpy as np

from facekp.classes import ATTRIBUTES
from facekp.images import UInt8Array
from facekp.keypoints.landmarks.axes import fit_similarity
from facekp.parsing.face_crop import Crop

PLACES: Final[Mapping[str, complex]] = {
    "l_eye": 0.6214 + 0.4788j,
    "r_eye": 0.3794 + 0.4785j,
    "nose": 0.4987 + 0.5774j,
    "mouth": 0.4997 + 0.7507j,
    "eye_g": 0.5034 + 0.4902j,
}
"""Usual centroids of a face's parts in CelebA-HQ, x + iy as shares of the picture's side: means over 3,877 labels."""
MIN_PART, MIN_SKIN = 2e-4, 0.02
"""Shares of the crop's area. In the same labels the smallest skin is 0.041, and one part in a thousand is smaller than
0.0005; but a crop may be twice too large."""
MIN_RIVAL: Final = 0.3
"""A part's component is a candidate if it has this share of the largest component's area."""
MAX_RESIDUAL: Final = 0.05
"""Largest root mean square distance of a face's parts from their usual places, as a share of the side. In the same
labels one face in a thousand has more than 0.044."""
MAX_CHANGE: Final = 2.0
"""Largest ratio between the side of a face's crop and that of the crop it was found in."""
SAME_FACE: Final = 0.25
"""Crops show the same face if the distance of their middles is below this share of the larger side, and their sides are
within a factor of two."""


def fit_crop(points: Mapping[str, complex]) -> tuple[Crop, float]:
    """Return the crop in which the parts of a face lie nearest to their usual places (least squares).

    `points` are at least two points of the photo, by names of `PLACES`. The second value returned is the root mean
    square distance of the parts from their places, as a share of the crop's side.
    """
    places = np.array([PLACES[name] for name in points])
    found = np.array(list(points.values()))
    crop = Crop(*fit_similarity(places, found))
    distances = found - crop.origin - crop.edge * places
    return crop, float(np.sqrt((abs(distances) ** 2).mean())) / max(crop.side, 1e-9)


def refine(crop: Crop, mask: UInt8Array) -> Crop | None:
    """Align a crop to the face that was parsed in it, or return None if that is not a face.

    A face has skin and, at their places, three of: left eye, right eye (or glasses), nose, mouth. Nose and mouth alone
    are enough if hair hides the eyes, but are too close to each other to align by; then the crop is unchanged.

    Args:
        crop: the part of the photo that was parsed.
        mask: (s, s) uint8, the class ids found in it; background where the crop reaches beyond the photo.
    """
    places = {name: place for name in PLACES if (place := find_part(mask, name)) is not None}
    if "l_eye" in places or "r_eye" in places:
        places.pop("eye_g", None)
    enough = len(places) >= 3 or places.keys() == {"nose", "mouth"}
    if not enough or np.count_nonzero(mask == ATTRIBUTES.index("skin")) < MIN_SKIN * mask.size:
        return None
    refined, residual = fit_crop({name: crop.at(place) for name, place in places.items()})
    turn = refined.edge / crop.edge
    alike = 1 / MAX_CHANGE < abs(turn) < MAX_CHANGE and turn.real > 0
    inside = abs(refined.middle - crop.middle) < crop.side / 2
    if residual > MAX_RESIDUAL or not alike or not inside:
        return None
    return refined if len(places) >= 3 else crop


def find_part(mask: UInt8Array, name: str) -> complex | None:
    """Return the centroid of a part in a crop's mask, as a share of its side; of several, the nearest to its place."""
    classes = ("mouth", "u_lip", "l_lip") if name == "mouth" else (name,)
    own = np.isin(mask, [ATTRIBUTES.index(c) for c in classes]).view(np.uint8)
    _, _, stats, centroids = cv2.connectedComponentsWithStats(own)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.max(initial=0) < MIN_PART * mask.size:
        return None
    places = ((centroids[1:] + 0.5) / mask.shape[0]) @ (1, 1j)
    distances = np.where(areas >= MIN_RIVAL * areas.max(), abs(places - PLACES[name]), np.inf)
    return complex(places[distances.argmin()])


def distinct(crops: Iterable[Crop]) -> list[Crop]:
    """Return the crops without those of a face that an earlier crop shows."""
    kept: list[Crop] = []
    for crop in crops:
        pairs = [(abs(crop.middle - other.middle), sorted((crop.side, other.side))) for other in kept]
        if not any(apart < SAME_FACE * large and large < 2 * small for apart, (small, large) in pairs):
            kept.append(crop)
    return kept

"""Framing a face as CelebA-HQ does: by its eyes, nose and mouth."""

from collections.abc import Iterable, Mapping
from typing import Final

import cv2
import numpy as np

from facekp.classes import ATTRIBUTES
from facekp.images import UInt8Array
from facekp.parsing.face_crop import Crop

# python -m benchmarks.places data.root=...: means over 3,877 training labels.
PLACES: Final[Mapping[str, complex]] = {
    "l_eye": 0.6214 + 0.4788j,
    "r_eye": 0.3794 + 0.4785j,
    "nose": 0.4987 + 0.5774j,
    "mouth": 0.4997 + 0.7507j,
    "eye_g": 0.5034 + 0.4902j,
}
"""Where the centroids of a face's parts lie in CelebA-HQ, as shares of the picture's side."""
CLASSES: Final[Mapping[str, tuple[str, ...]]] = {name: (name,) for name in PLACES} | {
    "mouth": ("mouth", "u_lip", "l_lip")
}

# Shares of the crop. The least skin of the same labels is 0.041, and of the eyes, noses and mouths of 1,000 of them one
# in a thousand is smaller than 0.0005; but a crop may be twice too large.
SMALLEST_PART = 2e-4
LEAST_SKIN = 0.02
# A part's component counts where it has this share of the largest one's area.
RIVAL = 0.3
# Root mean square distance of a face's parts from their usual places, as a share of the side, beyond which it is none.
# Of the same labels one in a thousand has more than 0.044.
LARGEST_RESIDUAL = 0.05
# How much smaller or larger than the crop that it was found in a face may be.
LARGEST_CHANGE = 2.0
# Crops are of one face where their middles are closer than this share of the larger one's side, and their sides within
# a factor of two.
SAME = 0.25


def fit(points: Mapping[str, complex]) -> tuple[Crop, float]:
    """Return the crop in which parts of a face lie at their usual places, as nearly as a square's can (least squares).

    Args:
        points: points of the photo, by names of `PLACES`; two at least.

    Returns:
        crop: where a face so is framed.
        residual: root mean square distance of the parts from their places, as a share of the crop's side.

    Reference: Umeyama 1991, without reflections: in the plane, one complex regression.
    """
    places = np.array([PLACES[name] for name in points])
    found = np.array(list(points.values()))
    spread = places - places.mean()
    edge = complex(np.vdot(spread, found) / np.vdot(spread, spread).real)
    crop = Crop(complex(found.mean() - edge * places.mean()), edge)
    distances = found - crop.origin - edge * places
    return crop, float(np.sqrt((abs(distances) ** 2).mean())) / max(crop.side, 1e-9)


def refine(crop: Crop, mask: UInt8Array) -> Crop | None:
    """Fit a crop anew to what was found in it, or return None where that is no face.

    A face has skin, and at their places three of: two eyes (or glasses), nose and mouth. Nose and mouth alone will do
    where hair hides the eyes, but are too near each other to fit a crop to; then it stays as it is.

    Args:
        crop: what was parsed.
        mask: (s, s) uint8, the class ids found in it; background where the crop reaches beyond the photo.
    """
    places = {name: place for name in PLACES if (place := locate(mask, name)) is not None}
    if "l_eye" in places or "r_eye" in places:
        places.pop("eye_g", None)
    enough = len(places) >= 3 or places.keys() == {"nose", "mouth"}
    if not enough or np.count_nonzero(mask == ATTRIBUTES.index("skin")) < LEAST_SKIN * mask.size:
        return None
    refined, residual = fit({name: crop.at(place) for name, place in places.items()})
    turn = refined.edge / crop.edge
    alike = 1 / LARGEST_CHANGE < abs(turn) < LARGEST_CHANGE and turn.real > 0
    inside = abs(refined.middle - crop.middle) < crop.side / 2
    if residual > LARGEST_RESIDUAL or not alike or not inside:
        return None
    return refined if len(places) >= 3 else crop


def locate(mask: UInt8Array, name: str) -> complex | None:
    """Return a part's centroid in a crop's mask, in units of its side; of several, the one nearest its usual place."""
    own = np.isin(mask, [ATTRIBUTES.index(c) for c in CLASSES[name]]).view(np.uint8)
    _, _, stats, centroids = cv2.connectedComponentsWithStats(own)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.max(initial=0) < SMALLEST_PART * mask.size:
        return None
    places = ((centroids[1:] + 0.5) / mask.shape[0]) @ (1, 1j)
    distances = np.where(areas >= RIVAL * areas.max(), abs(places - PLACES[name]), np.inf)
    return complex(places[distances.argmin()])


def distinct(crops: Iterable[Crop]) -> list[Crop]:
    """Return the crops without those of a face that an earlier one has."""
    kept: list[Crop] = []
    for crop in crops:
        if not any(_is_same(crop, other) for other in kept):
            kept.append(crop)
    return kept


def _is_same(one: Crop, other: Crop) -> bool:
    small, large = sorted((one.side, other.side))
    return abs(one.middle - other.middle) < SAME * large and large < 2 * small

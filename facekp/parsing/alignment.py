"""Alignment of crops by the eyes, nose and mouth of a face, as in CelebA-HQ."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.errors import ConfigError
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
MOUTH: Final = ("mouth", "u_lip", "l_lip")
MIN_PART, MIN_SKIN = 2e-4, 0.02
"""Minimum areas, as shares of the crop's. In the same labels the smallest skin is 0.041, and one part in a thousand is
smaller than 0.0005; but a crop may be twice too large."""
MIN_RIVAL: Final = 0.3
"""A component of a part is a candidate if its area is at least this share of the largest component's."""
MAX_RESIDUAL: Final = 0.05
"""Maximum root mean square distance of a face's parts from their usual places, as a share of the side. In the same
labels, one face in a thousand exceeds 0.044."""
MAX_CHANGE: Final = 2.0
"""Maximum ratio between the side of an aligned crop and the side of the crop that the face was found in."""
MAX_UNSEEN: Final = 0.35
"""Maximum mean distance, as a share of the side, between the corners of a crop in which an eye is hidden and those of
the crop that the parts in view would give. Farther, it is the crop that does not fit."""
SAME_FACE: Final = 0.25
"""Two crops show the same face if their centres are closer than this share of the larger side, and their sides are
within a factor of two."""


def require_parts(classes: Classes) -> None:
    """Check that faces can be found and aligned with these classes.

    Raises:
        ConfigError: no class shows skin, or too few show the eyes, the nose and the mouth.
    """
    needed = {"skin": ("skin",), "l_eye": ("l_eye",), "r_eye": ("r_eye",), "nose": ("nose",), "mouth": MOUTH}
    lacking = [name for name, parts in needed.items() if not classes.ids(*parts)]
    if "skin" in lacking or len(lacking) > 1:
        raise ConfigError(
            f"align is 'auto', which needs skin and three of l_eye, r_eye, nose and mouth, but no class shows "
            f"{', '.join(lacking)}: use align=none, or name the classes that do in the parts of classes.json"
        )


def fit_crop(points: Mapping[str, complex]) -> tuple[Crop, float]:
    """Fit the crop that puts the parts of a face closest to their usual places (least squares).

    `points` maps at least two names of `PLACES` to points of the photo. The second return value is the root mean
    square distance of the parts from their places, as a share of the crop's side.
    """
    places = np.array([PLACES[name] for name in points])
    found = np.array(list(points.values()))
    crop = Crop(*fit_similarity(places, found))
    distances = found - crop.origin - crop.edge * places
    return crop, float(np.sqrt((abs(distances) ** 2).mean())) / max(crop.side, 1e-9)


def fit_five(points: Sequence[complex]) -> Crop:
    """Fit a crop to a detector's five points: right eye, left eye, nose, and both corners of the mouth."""
    r_eye, l_eye, nose, *mouth = points
    return fit_crop({"r_eye": r_eye, "l_eye": l_eye, "nose": nose, "mouth": sum(mouth) / 2})[0]


def refine(crop: Crop, mask: UInt8Array, classes: Classes = CELEBAMASK_HQ) -> Crop | None:
    """Align a crop to the face parsed in it, or return None if there is no face.

    A face has skin and, in their usual places, three of: left eye, right eye (or glasses), nose, mouth. Nose and mouth
    alone suffice if hair hides the eyes and the crop fits them. Fewer than four are poor guides to the rotation, in a
    profile above all: a crop that fits them is returned unchanged.

    Args:
        crop: the part of the photo that was parsed.
        mask: (s, s) uint8, the class ids predicted in it; background beyond the photo's border.
        classes: those of the mask.
    """
    places = {name: place for name in PLACES if (place := find_part(mask, name, classes)) is not None}
    if "l_eye" in places or "r_eye" in places:
        places.pop("eye_g", None)
    enough = len(places) >= 3 or places.keys() == {"nose", "mouth"}
    if not enough or np.isin(mask, classes.ids("skin")).sum() < MIN_SKIN * mask.size:
        return None
    refined, residual = fit_crop({name: crop.at(place) for name, place in places.items()})
    turn = refined.edge / crop.edge
    alike = 1 / MAX_CHANGE < abs(turn) < MAX_CHANGE and turn.real > 0
    inside = abs(refined.middle - crop.middle) < crop.side / 2
    if residual > MAX_RESIDUAL or not alike or not inside:
        return None
    if len(places) < 4 and refined.distance_to(crop) < MAX_UNSEEN:
        return crop
    return refined if len(places) >= 3 else None


def find_part(mask: UInt8Array, name: str, classes: Classes = CELEBAMASK_HQ) -> complex | None:
    """Return a part's centroid in a crop's mask, as a share of the side; the nearest to its usual place if several."""
    parts = MOUTH if name == "mouth" else (name,)
    own = np.isin(mask, classes.ids(*parts)).view(np.uint8)
    _, _, stats, centroids = cv2.connectedComponentsWithStats(own)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.max(initial=0) < MIN_PART * mask.size:
        return None
    places = ((centroids[1:] + 0.5) / mask.shape[0]) @ (1, 1j)
    distances = np.where(areas >= MIN_RIVAL * areas.max(), abs(places - PLACES[name]), np.inf)
    return complex(places[distances.argmin()])


def distinct(crops: Iterable[Crop]) -> list[Crop]:
    """Return the crops, dropping each that shows the same face as an earlier one."""
    kept: list[Crop] = []
    for crop in crops:
        pairs = [(abs(crop.middle - other.middle), sorted((crop.side, other.side))) for other in kept]
        if not any(apart < SAME_FACE * large and large < 2 * small for apart, (small, large) in pairs):
            kept.append(crop)
    return kept

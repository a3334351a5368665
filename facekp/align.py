"""Crops that frame a face as CelebA-HQ does: fitted to its eyes, nose and mouth, cut from a photo, and put back.

Points of a photo are complex numbers here, x + iy, so that turning and enlarging are one multiplication. 0 is the
photo's top left corner, so the centre of its first pixel is `CENTRE`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.attributes import ATTRIBUTES
from facekp.contours import Points
from facekp.face import Face
from facekp.images import UInt8Array

CENTRE: Final = 0.5 + 0.5j
MIDDLE: Final = 0.5 + 0.5j
"""Of a crop, in its own unit: the crop's side."""

# python -m benchmarks.places data.root=...: means over the 3,877 training labels that the project has.
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

# Shares of the crop. Of the training labels' eyes, noses and mouths ... are larger.
SMALLEST_PART = 2e-4
LEAST_SKIN = 0.03
# A part's component counts where it has this share of the largest one's area.
RIVAL = 0.3
# Root mean square distance of a face's parts from their usual places, as a share of the side, beyond which it is none.
LARGEST_RESIDUAL = 0.06
# How much smaller or larger than the crop that it was found in a face may be.
LARGEST_CHANGE = 2.5
# Crops are of one face where their middles are closer than this share of the larger one's side.
SAME = 0.25
# A crop whose corners are, on average, within this share of the side of the photo's own corners is the photo.
WHOLE = 0.1


@dataclass(frozen=True)
class Crop:
    """An oriented square of a photo, which may reach beyond its borders.

    Attributes:
        origin: its top left corner.
        edge: from there to its top right corner.
    """

    origin: complex
    edge: complex

    @classmethod
    def around(cls, middle: complex, edge: complex) -> "Crop":
        """Return the crop with this middle and upper edge."""
        return cls(middle - edge * MIDDLE, edge)

    @property
    def side(self) -> float:
        """Its side in pixels of the photo."""
        return abs(self.edge)

    @property
    def middle(self) -> complex:
        """Its middle."""
        return self.at(MIDDLE)

    def at(self, place: complex) -> complex:
        """Return the point of the photo at a place of the crop, in units of its side."""
        return self.origin + self.edge * place

    def matrix(self, size: int) -> npt.NDArray[np.float64]:
        """Return the affine matrix (2, 3) from pixels (x, y) of the crop at `size` x `size` to pixels of the photo.

        In either, the centre of the first pixel is (0, 0).
        """
        scale = self.edge / size
        shift = self.origin + scale * CENTRE - CENTRE
        return np.array([[scale.real, -scale.imag, shift.real], [scale.imag, scale.real, shift.imag]])

    def corners(self) -> npt.NDArray[np.complex128]:
        """Return its corners (4,), clockwise from the top left one."""
        return self.origin + self.edge * np.array([0, 1, 1 + 1j, 1j])

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 of what it covers of a photo of `size` (H, W), in pixels."""
        corners = self.corners()
        x, y = corners.real.clip(0, size[1]), corners.imag.clip(0, size[0])
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def is_whole(self, size: tuple[int, int]) -> bool:
        """Tell whether it is nearly a photo of `size` (H, W), which then is framed as in CelebA-HQ already."""
        height, width = size
        apart = abs(self.corners() - Crop(0, width).corners()).mean()
        return height == width and bool(apart < WHOLE * width)


def fit(points: Mapping[str, complex]) -> tuple[Crop, float]:
    """Return the crop in which parts of a face lie at their usual places, as nearly as a square's can (least squares).

    Args:
        points: points of the photo, by names of `PLACES`; two at least.

    Returns:
        crop: where a face so is framed.
        residual: root mean square distance of the parts from their places, as a share of the crop's side.
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
        if all(abs(crop.middle - other.middle) >= SAME * max(crop.side, other.side) for other in kept):
            kept.append(crop)
    return kept


def cut(image: UInt8Array, crop: Crop, size: int) -> UInt8Array:
    """Return a crop of `image` (H, W, 3) uint8 at `size` x `size` pixels; beyond its borders the photo is mirrored.

    What shrinks is averaged before it is turned.
    """
    factor = max(1.0, crop.side / size)
    left, top, right, bottom = _window(crop, image.shape[:2], margin=2 * factor)
    part = image[top:bottom, left:right]
    width, height = (max(1, round(side / factor)) for side in (right - left, bottom - top))
    shrink = np.array([width / (right - left), height / (bottom - top)])
    part = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) if factor > 1 else part, np.uint8)
    # The photo's pixels, in those of its part: moved and shrunk, both about the corner of the first pixel.
    matrix = crop.matrix(size)
    matrix[:, 2] = (matrix[:, 2] + 0.5 - (left, top)) * shrink - 0.5
    matrix[:, :2] *= shrink[:, None]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(part, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(square, np.uint8)


def blank_beyond(mask: UInt8Array, crop: Crop, size: tuple[int, int]) -> UInt8Array:
    """Return a crop's mask (s, s) uint8 with background wherever it lies beyond a photo of `size` (H, W)."""
    left, top, right, bottom = _window(crop, size)
    matrix = crop.matrix(len(mask))
    matrix[:, 2] -= left, top
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones((bottom - top, right - left), np.uint8), matrix, mask.shape[::-1], flags=flags)
    return np.where(inside, mask, np.uint8(0))


def place(face: Face, crop: Crop, size: tuple[int, int]) -> Face:
    """Put a face back into its photo.

    Args:
        face: what was traced in the crop, in the pixels of its mask (s, s).
        crop: where that is.
        size: (H, W) of the photo.

    Returns:
        The face with mask (H, W), outlines and key points in pixels of the photo; without what is smaller than one.
    """
    matrix = crop.matrix(len(face.mask))
    mask = np.zeros(size, np.uint8)
    left, top, right, bottom = _window(crop, size)
    moved = matrix - [[0, 0, left], [0, 0, top]]
    part = cv2.warpAffine(face.mask, moved, (right - left, bottom - top), flags=cv2.INTER_NEAREST)
    mask[top:bottom, left:right] = part
    areas = np.bincount(part.ravel(), minlength=len(ATTRIBUTES))
    enlarged = (crop.side / len(face.mask)) ** 2
    attributes = {}
    for name, own in face.attributes.items():
        contours = tuple(replace(c, points=_move(c.points, matrix), area=c.area * enlarged) for c in own.contours)
        if areas[own.id]:
            points = _move(own.keypoints, matrix)
            attributes[name] = replace(own, area=int(areas[own.id]), contours=contours, keypoints=points)
    return replace(face, mask=mask, attributes=attributes, box=crop.box(size))


def _window(crop: Crop, size: tuple[int, ...], margin: float = 1.0) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels of a photo of `size` (H, W) that a crop may touch."""
    x0, y0, x1, y1 = crop.box((size[0], size[1]))
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    return left, top, min(size[1], int(x1 + margin) + 1), min(size[0], int(y1 + margin) + 1)


def _move(points: Points, matrix: npt.NDArray[np.float64]) -> Points:
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)

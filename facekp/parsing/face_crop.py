"""Rotated square crops of a photo.

Points of a photo are complex numbers x + iy, so that rotation and scaling are one multiplication. 0 is the photo's top
left corner, and the centre of its first pixel is `CENTRE`.

       origin +----------+ origin + edge
              |          |
              |  middle  |     at(x + iy) = origin + edge * (x + iy), x and y in 0..1
              |          |
              +----------+
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.images import UInt8Array

CENTRE: Final = 0.5 + 0.5j


@dataclass(frozen=True)
class Crop:
    """A rotated square crop of a photo, which may extend beyond its borders.

    Attributes:
        origin: top left corner.
        edge: vector from there to the top right corner.

    Example:
        A square of 10 pixels, a quarter turn clockwise as seen.

        >>> crop = Crop(20 + 20j, 10j)
        >>> crop.side, crop.middle, crop.at(1 + 1j)
        (10.0, (15+25j), (10+30j))
    """

    origin: complex
    edge: complex

    @classmethod
    def around(cls, middle: complex, edge: complex) -> "Crop":
        """Return the crop with this centre and upper edge."""
        return cls(middle - edge * CENTRE, edge)

    @classmethod
    def central(cls, size: tuple[int, int]) -> "Crop":
        """Return the largest upright crop in the middle of a photo of `size` (H, W)."""
        height, width = size
        return cls.around(complex(width, height) / 2, min(width, height))

    @property
    def side(self) -> float:
        """Side in pixels of the photo."""
        return abs(self.edge)

    @property
    def middle(self) -> complex:
        """Centre, a point of the photo."""
        return self.at(CENTRE)

    def at(self, place: complex) -> complex:
        """Map a point of the crop, in units of its side, to the photo."""
        return self.origin + self.edge * place

    def matrix(self, size: int) -> npt.NDArray[np.float64]:
        """Return the affine matrix (2, 3) from pixels (x, y) of the crop at `size` x `size` to pixels of the photo.

        In both, the centre of the first pixel is (0, 0).
        """
        scale = self.edge / size
        shift = self.origin + scale * CENTRE - CENTRE
        return np.array([[scale.real, -scale.imag, shift.real], [scale.imag, scale.real, shift.imag]])

    def corners(self) -> npt.NDArray[np.complex128]:
        """Return the corners (4,), clockwise from the top left."""
        return self.origin + self.edge * np.array([0, 1, 1 + 1j, 1j])

    def box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 of the upright bounding rectangle, clipped to a photo of `size` (H, W)."""
        corners = self.corners()
        x, y = corners.real.clip(0, size[1]), corners.imag.clip(0, size[0])
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def distance_to(self, other: "Crop") -> float:
        """Return the mean distance between both crops' corners, as a share of the other's side."""
        return float(abs(self.corners() - other.corners()).mean()) / other.side


def window(crop: Crop, size: tuple[int, int], margin: float = 1.0) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom (both exclusive) of the pixels of a photo (H, W) that a crop may touch.

    The window has at least one pixel. `margin` is in pixels.
    """
    x0, y0, x1, y1 = crop.box(size)
    left, top = (max(0, min(int(low - margin), length - 1)) for low, length in ((x0, size[1]), (y0, size[0])))
    return left, top, min(size[1], int(x1 + margin) + 1), min(size[0], int(y1 + margin) + 1)


def cut(image: UInt8Array, crop: Crop, size: int) -> UInt8Array:
    """Return a crop of `image` (H, W, 3) uint8 at `size` x `size` pixels; beyond its borders the image is mirrored.

    A crop that shrinks is averaged before it is rotated.
    """
    factor = max(1.0, crop.side / size)
    left, top, right, bottom = window(crop, (image.shape[0], image.shape[1]), margin=2 * factor)
    part = image[top:bottom, left:right]
    width, height = (max(1, round(side / factor)) for side in (right - left, bottom - top))
    shrink = np.array([width / (right - left), height / (bottom - top)])
    if factor > 1:
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    # From pixels of the photo to those of its part: shifted and shrunk about the corner of the first pixel.
    matrix = crop.matrix(size)
    matrix[:, 2] = (matrix[:, 2] + 0.5 - (left, top)) * shrink - 0.5
    matrix[:, :2] *= shrink[:, None]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def within(crop: Crop, pixels: int, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return a mask (s, s), s = `pixels`, of a crop's pixels that lie in a photo of `size` (H, W)."""
    left, top, right, bottom = window(crop, size)
    matrix = crop.matrix(pixels)
    matrix[:, 2] -= left, top
    photo = np.ones((bottom - top, right - left), np.uint8)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(photo, matrix, (pixels, pixels), flags=flags).view(np.bool_)

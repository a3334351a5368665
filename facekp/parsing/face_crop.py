"""Oblique squares of a photo: where they lie, and what is seen in them.

Points of a photo are complex numbers here, x + iy, so that turning and enlarging are one multiplication. 0 is the
photo's top left corner, so the centre of its first pixel is `CENTRE`.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.images import UInt8Array

CENTRE: Final = 0.5 + 0.5j
MIDDLE: Final = 0.5 + 0.5j
"""Of a crop, in its own unit: the crop's side."""


@dataclass(frozen=True)
class Crop:
    """An oblique square of a photo, which may reach beyond its borders.

    Attributes:
        origin: its top left corner.
        edge: from there to its top right corner.

    Example:
        A square of 10 pixels that is turned by a quarter, clockwise as seen; its middle is (15, 25).

        >>> crop = Crop(20 + 20j, 10j)
        >>> crop.side, crop.middle, crop.at(1 + 1j)
        (10.0, (15+25j), (10+30j))
    """

    origin: complex
    edge: complex

    @classmethod
    def around(cls, middle: complex, edge: complex) -> "Crop":
        """Return the crop with this middle and upper edge."""
        return cls(middle - edge * MIDDLE, edge)

    @classmethod
    def central(cls, size: tuple[int, int]) -> "Crop":
        """Return the largest upright crop within a photo of `size` (H, W), in its middle."""
        height, width = size
        return cls.around(complex(width, height) / 2, min(width, height))

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
        """Return x0, y0, x1, y1 of the upright rectangle around it, as far as it is in a photo of `size` (H, W)."""
        corners = self.corners()
        x, y = corners.real.clip(0, size[1]), corners.imag.clip(0, size[0])
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def away(self, other: "Crop") -> float:
        """Return how far its corners are from another's, on average, as a share of the other's side."""
        return float(abs(self.corners() - other.corners()).mean()) / other.side


def window(crop: Crop, size: tuple[int, int], margin: float = 1.0) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels of a photo of `size` (H, W) that a crop may touch; one at least.

    Right and bottom are the first beyond it. `margin` is in pixels.
    """
    x0, y0, x1, y1 = crop.box(size)
    left, top = (max(0, min(int(low - margin), length - 1)) for low, length in ((x0, size[1]), (y0, size[0])))
    return left, top, min(size[1], int(x1 + margin) + 1), min(size[0], int(y1 + margin) + 1)


def cut(image: UInt8Array, crop: Crop, size: int) -> UInt8Array:
    """Return a crop of `image` (H, W, 3) uint8 at `size` x `size` pixels; beyond its borders the photo is mirrored.

    What shrinks is averaged before it is turned.
    """
    factor = max(1.0, crop.side / size)
    left, top, right, bottom = window(crop, (image.shape[0], image.shape[1]), margin=2 * factor)
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


def within(crop: Crop, pixels: int, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Tell which pixels of a crop at `pixels` x `pixels` lie in a photo of `size` (H, W)."""
    left, top, right, bottom = window(crop, size)
    matrix = crop.matrix(pixels)
    matrix[:, 2] -= left, top
    photo = np.ones((bottom - top, right - left), np.uint8)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(photo, matrix, (pixels, pixels), flags=flags), np.uint8).view(np.bool_)

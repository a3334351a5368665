"""Drawn backgrounds: faces on other backgrounds than their own, which go on beyond the image's frame."""

import random
from typing import Any, Final

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import IGNORE_INDEX
from facekp.data.occluders import draw_texture
from facekp.images import UInt8Array

BLEND: Final = 1.5
"""Standard deviation in pixels of the Gaussian that blends a face's edge with its background."""
SHAPES: Final = 12
"""Maximum number of shapes in a drawn background."""


class Background(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Put a share of the images on a drawn background, which also fills the padding around images scaled down.

    Pixels of class 0 show the drawn background. So does the padding, and it becomes class 0, but where the image's
    border cuts a face's attribute: there its true shape is unknown, so the mirrored image goes on, to be ignored.

    Args:
        share: probability of another background.
    """

    def __init__(self, share: float) -> None:
        super().__init__(p=share)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the background at the image's size, and find the image within its padding."""
        mask = data["mask"]
        x, y, width, height = cv2.boundingRect((mask != IGNORE_INDEX).astype(np.uint8))
        frame = slice(y, y + height), slice(x, x + width)
        edges = y, mask.shape[0] - y - height, x, mask.shape[1] - x - width
        behind = (_bordered(mask[frame], edges, cv2.BORDER_REPLICATE) == 0).astype(np.float32)
        drawn = draw_background(self.py_random, mask.shape)
        return {"frame": frame, "edges": edges, "behind": behind, "drawn": drawn}

    def apply(self, img: npt.NDArray[Any], **params: Any) -> npt.NDArray[Any]:
        """Return (H, W, 3) uint8 with the drawn background behind the face."""
        whole = _bordered(img[params["frame"]], params["edges"], cv2.BORDER_REFLECT)
        alpha = cv2.GaussianBlur(params["behind"], (0, 0), BLEND, borderType=cv2.BORDER_REPLICATE)[..., None]
        return np.asarray(np.rint(alpha * params["drawn"] + (1 - alpha) * whole), np.uint8)

    def apply_to_mask(self, mask: npt.NDArray[Any], *args: Any, **params: Any) -> npt.NDArray[Any]:
        """Return (H, W) uint8 class ids, with class 0 in the padding beside background."""
        return np.where(params["behind"] > 0, 0, mask).astype(np.uint8)


def draw_background(rng: random.Random, size: tuple[int, int]) -> UInt8Array:
    """Return a random texture with rectangles, lines and discs of others, more or less blurred, (H, W, 3) uint8 RGB."""
    height, width = size
    drawn = draw_texture(rng, size)
    for _ in range(rng.randrange(SHAPES + 1)):
        cover = np.zeros(size, np.uint8)
        start, end = ((rng.randrange(width), rng.randrange(height)) for _ in range(2))
        kind, thickness = rng.randrange(3), 1 + rng.randrange(max(1, min(size) // 20))
        if kind == 0:
            cv2.rectangle(cover, start, end, 1, cv2.FILLED)
        elif kind == 1:
            cv2.line(cover, start, end, 1, thickness)
        else:
            cv2.circle(cover, start, 2 * thickness, 1, cv2.FILLED)
        cv2.copyTo(draw_texture(rng, size), cover, drawn)
    blur = rng.choice((0, 0.01, 0.03)) * min(size)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur) if blur else drawn, np.uint8)


def _bordered(pixels: npt.NDArray[Any], edges: tuple[int, int, int, int], kind: int) -> npt.NDArray[Any]:
    """Return pixels with a border of OpenCV's `kind`; `edges` are its widths above, below, left and right."""
    above, below, left, right = edges
    return np.asarray(cv2.copyMakeBorder(pixels, above, below, left, right, kind))

"""Drawn things in front of a face: hands, microphones and cups of random texture, labelled as background."""

import math
import random
from typing import Any, Final

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import IGNORE_INDEX
from facekp.images import UInt8Array

KINDS: Final = ("hand", "microphone", "cup")
FINGERS: Final = (-0.45, -0.2, 0.0, 0.22)
"""Angles of a hand's fingers from its arm's direction, radians."""
THUMB: Final = 1.0
SHIFT: Final = 4
"""OpenCV draws at fixed-point coordinates with this many fractional bits."""


class Occlude(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Draw one occluder over a share of the images, and label its pixels as background.

    It enters from the left, the right or below, as arms do, and reaches into the middle half of the image. Its colour,
    shading and grain are random; half are of a skin's colour, which makes hands hard to tell from faces.

    Args:
        share: probability of an occluder.
    """

    def __init__(self, share: float) -> None:
        super().__init__(p=share)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the occluder's coverage at the image's size, and its texture."""
        cover = draw_occluder(self.py_random, params["shape"][:2], self.py_random.choice(KINDS))
        x, y, width, height = cv2.boundingRect(cover)
        place = slice(y, y + height), slice(x, x + width)
        return {"place": place, "cover": cover[place], "texture": draw_texture(self.py_random, (height, width))}

    def apply(self, img: npt.NDArray[Any], **params: Any) -> npt.NDArray[Any]:
        """Return (H, W, 3) uint8 with the occluder over it, its edge blended."""
        img, place, alpha = img.copy(), params["place"], params["cover"][..., None].astype(np.float32) / 255
        img[place] = np.rint(alpha * params["texture"] + (1 - alpha) * img[place])
        return img

    def apply_to_mask(self, mask: npt.NDArray[Any], *args: Any, **params: Any) -> npt.NDArray[Any]:
        """Return (H, W) uint8 class ids with background where the occluder covers more than half of a pixel."""
        mask = mask.copy()
        covered = mask[params["place"]]
        covered[(params["cover"] > 127) & (covered != IGNORE_INDEX)] = 0
        return mask


def draw_occluder(rng: random.Random, size: tuple[int, int], kind: str) -> UInt8Array:
    """Return the coverage (H, W) uint8, 0..255, of one of `KINDS` on an arm."""
    height, width = size
    side = min(size)
    # An arm from outside the image to a point in its middle half.
    tip = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.35, 0.85) * height])
    start = np.array([[-0.2 * width, rng.uniform(0.4, 1.2) * height], [1.2 * width, rng.uniform(0.4, 1.2) * height],
                      [rng.uniform(0, 1) * width, 1.2 * height]][rng.randrange(3)])  # fmt: skip
    towards = (tip - start) / np.linalg.norm(tip - start)
    angle, scale = math.atan2(towards[1], towards[0]), side * rng.uniform(0.07, 0.16)
    cover = np.zeros(size, np.uint8)

    def line(begin: npt.NDArray[Any], end: npt.NDArray[Any], thickness: float) -> None:
        cv2.line(cover, _fixed(begin), _fixed(end), 255, max(1, round(thickness)), cv2.LINE_AA, SHIFT)

    def turned(by: float, length: float) -> npt.NDArray[Any]:
        return length * np.array([math.cos(angle + by), math.sin(angle + by)])

    line(start, tip, scale * (1.0 if kind == "hand" else 0.5))
    if kind == "hand":
        for by in FINGERS:
            line(tip, tip + turned(by + rng.uniform(-0.1, 0.1), scale * rng.uniform(1.6, 2.2)), scale * 0.42)
        line(tip, tip + turned(rng.choice((-1, 1)) * THUMB, scale * 1.4), scale * 0.45)
        cv2.circle(cover, _fixed(tip), round(scale * 0.75 * 2**SHIFT), 255, -1, cv2.LINE_AA, SHIFT)
    elif kind == "microphone":
        cv2.circle(cover, _fixed(tip), round(scale * 2**SHIFT), 255, -1, cv2.LINE_AA, SHIFT)
    else:
        box = cv2.boxPoints((tuple(tip), (2 * scale, scale * rng.uniform(2, 3)), math.degrees(rng.uniform(-0.4, 0.4))))
        cv2.fillConvexPoly(cover, np.rint(box * 2**SHIFT).astype(np.int32), 255, cv2.LINE_AA, SHIFT)
    return cover


def draw_texture(rng: random.Random, size: tuple[int, int]) -> UInt8Array:
    """Return a random colour with soft spots, shading in one direction and grain, (H, W, 3) uint8 RGB."""
    noise = np.random.default_rng(rng.getrandbits(32))
    if rng.random() < 0.5:  # skin: hue 5 to 20 of 180
        hsv = rng.uniform(5, 20), rng.uniform(60, 170), rng.uniform(60, 240)
    else:
        hsv = rng.uniform(0, 179), rng.uniform(0, 255), rng.uniform(10, 245)
    colour = cv2.cvtColor(np.array([[hsv]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
    spots = cv2.resize(noise.normal(0, 12, (6, 6, 3)).astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    across = np.linspace(-1, 1, size[1], dtype=np.float32)[None, :] * rng.uniform(-40, 40)
    down = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None] * rng.uniform(-40, 40)
    grain = noise.normal(0, rng.uniform(1, 8), size).astype(np.float32)
    return np.clip(colour + spots + (across + down + grain)[..., None], 0, 255).astype(np.uint8)


def _fixed(point: npt.NDArray[Any]) -> tuple[int, int]:
    """Return a point (2,) in OpenCV's fixed-point coordinates."""
    x, y = np.rint(point * 2**SHIFT).astype(int)
    return int(x), int(y)

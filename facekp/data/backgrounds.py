"""Drawn surroundings: other backgrounds behind faces, and bodies that continue their clothes below the image."""

import random
from typing import Any, Final

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX, Classes
from facekp.data.occluders import draw_texture
from facekp.images import UInt8Array

BLEND: Final = 1.5
"""Standard deviation in pixels of the Gaussian that blends a face's edge with its background."""
SHAPES: Final = 12
"""Maximum number of shapes in a drawn background."""


class Background(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Put a share of the images on a drawn background, which also fills the padding around images scaled down.

    Pixels of class 0 show the drawn background, and so does the padding, which becomes class 0, with two exceptions.
    Below the image, a drawn body continues the face's clothes. Where the image's border cuts another attribute, whose
    true shape is unknown, the mirrored image continues it, and is ignored.

    Args:
        share: probability of another background.
        classes: those of the masks.
    """

    def __init__(self, share: float, classes: Classes = CELEBAMASK_HQ) -> None:
        super().__init__(p=share)
        self._cloth, self._torso = classes.ids("cloth"), classes.ids("cloth", "neck", "neck_l")

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the background and the body at the image's size, and find the image within its padding."""
        image, mask = data["image"], data["mask"]
        x, y, width, height = cv2.boundingRect((mask != IGNORE_INDEX).astype(np.uint8))
        frame = slice(y, y + height), slice(x, x + width)
        edges = y, mask.shape[0] - y - height, x, mask.shape[1] - x - width
        drawn = draw_background(self.py_random, mask.shape)
        cut = _bordered(mask[frame], edges, cv2.BORDER_REPLICATE)
        torso, body = np.isin(cut, self._torso), np.zeros(mask.shape, bool)
        if edges[1] and torso[-1].any():
            body = draw_body(self.py_random, torso[frame], edges) & (torso | (cut == 0))
            body[frame] = False
            clothes = draw_clothes(self.py_random, image[frame], np.isin(mask[frame], self._cloth), edges)
            drawn[body] = clothes[body]
        behind = (body | (cut == 0)).astype(np.float32)
        return {"frame": frame, "edges": edges, "behind": behind, "drawn": drawn, "body": body}

    def apply(self, img: npt.NDArray[Any], **params: Any) -> npt.NDArray[Any]:
        """Return (H, W, 3) uint8 with the drawn background behind the face."""
        whole = _bordered(img[params["frame"]], params["edges"], cv2.BORDER_REFLECT)
        alpha = cv2.GaussianBlur(params["behind"], (0, 0), BLEND, borderType=cv2.BORDER_REPLICATE)[..., None]
        return np.asarray(np.rint(alpha * params["drawn"] + (1 - alpha) * whole), np.uint8)

    def apply_to_mask(self, mask: npt.NDArray[Any], *args: Any, **params: Any) -> npt.NDArray[Any]:
        """Return (H, W) uint8 class ids, with class 0 in the padding beside background, and the body's clothes."""
        mask = np.where(params["behind"] > 0, 0, mask).astype(np.uint8)
        mask[params["body"]] = self._cloth[:1] or 0
        return mask


def draw_body(
    rng: random.Random, torso: npt.NDArray[np.bool_], edges: tuple[int, int, int, int]
) -> npt.NDArray[np.bool_]:
    """Return where a body goes on around a frame (h, w), (H, W) bool with its `edges`.

    Its shoulders begin where `torso` (h, w), the neck and clothes, leaves the frame at the side, or else below, and its
    arms hang down from them.
    """
    above, below, left, right = edges
    height, width = torso.shape
    bottom, lowest = above + height - 1, np.nonzero(torso[-1])[0]
    half, outline = rng.uniform(0.5, 0.95) * width, []
    for sign, border, column in ((-1, 0, lowest[0]), (1, width - 1, lowest[-1])):
        rows = np.nonzero(torso[:, border])[0]
        x, y = (left + border, above + rows[0]) if rows.size else (left + column, bottom)
        across = max(0.0, sign * (left + width / 2 - x) + half)
        down = across * rng.uniform(0.15, 0.9)
        bend = x + sign * 0.7 * across, y + rng.uniform(0.4, 0.7) * down
        hand = x + sign * (across + rng.uniform(-0.1, 0.3) * width), bottom + below + down
        side = [(x, bottom), (x, y), bend, (x + sign * across, y + down), hand]
        outline += side[::-sign]  # down the left side, and up the right
    cover = np.zeros((above + height + below, left + width + right), np.uint8)
    cv2.fillPoly(cover, [np.rint(outline).astype(np.int32)], 1)
    return cover.astype(bool)


def draw_clothes(
    rng: random.Random, image: UInt8Array, worn: npt.NDArray[np.bool_], edges: tuple[int, int, int, int]
) -> UInt8Array:
    """Return clothes around a frame (h, w), (H, W, 3) uint8, with drawn straps, pockets and badges.

    They have the colour of what is `worn` (h, w) at the frame's lower border, or mostly repeat it.
    """
    above, below, left, right = edges
    height, width = above + len(image) + below, left + image.shape[1] + right
    depth = max(4, round(rng.uniform(0.06, 0.15) * len(image)))
    strip, worn = image[-depth:].copy(), worn[-depth:]
    clothes = draw_texture(rng, (height, width))
    if worn.any():
        change = np.median(strip[worn], 0) - clothes.mean((0, 1))
        clothes = np.clip(clothes + change, 0, 255).astype(np.uint8)
        if rng.random() < 0.7:
            strip[~worn] = clothes[:depth, left : left + image.shape[1]][~worn]
            clothes[-below:] = np.pad(strip, ((0, below), (left, right), (0, 0)), "symmetric")[-below:]
    for _ in range(rng.randrange(6)):
        cover = np.zeros((height, width), np.uint8)
        place, end = ((rng.randrange(width), rng.randrange(height - below, height)) for _ in range(2))
        if rng.random() < 0.5:
            cv2.line(cover, place, end, 1, 1 + rng.randrange(max(2, height // 40)))
        else:
            side = 2 + rng.randrange(max(2, height // 12))
            cv2.ellipse(cover, place, (side, 2 + rng.randrange(side)), rng.uniform(0, 180), 0, 360, 1, cv2.FILLED)
        _paint(rng, clothes, cover)
    return clothes


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
        _paint(rng, drawn, cover)
    blur = rng.choice((0, 0.01, 0.03)) * min(size)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur) if blur else drawn, np.uint8)


def _paint(rng: random.Random, image: UInt8Array, cover: UInt8Array) -> None:
    """Fill where `cover` (H, W) is not 0 with a random texture."""
    x, y, width, height = cv2.boundingRect(cover)
    if width:
        place = slice(y, y + height), slice(x, x + width)
        cv2.copyTo(draw_texture(rng, (height, width)), cover[place], image[place])


def _bordered(pixels: npt.NDArray[Any], edges: tuple[int, int, int, int], kind: int) -> npt.NDArray[Any]:
    """Return pixels with a border of OpenCV's `kind`; `edges` are its widths above, below, left and right."""
    above, below, left, right = edges
    return np.asarray(cv2.copyMakeBorder(pixels, above, below, left, right, kind))

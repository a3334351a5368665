"""Pictures of a parsed face: coloured masks, key points and a legend over the photo."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from facekp.attributes import ATTRIBUTES, PALETTE
from facekp.face import Face, merge_masks
from facekp.images import UInt8Array

OPACITY = 0.45
LEGIBLE_SIDE = 768
"""Smaller photos are enlarged to this, so that the legend can be read."""
SUBPIXEL_BITS = 4


def colour_mask(mask: UInt8Array) -> UInt8Array:
    """Return the colours (H, W, 3) uint8 RGB of a mask (H, W) uint8 of class ids; other values are black."""
    table = np.zeros((256, 1, 3), dtype=np.uint8)
    table[: len(PALETTE), 0] = PALETTE
    return np.asarray(cv2.LUT(cv2.merge([mask] * 3), table), np.uint8)


def draw_overlay(image: UInt8Array, faces: Sequence[Face]) -> UInt8Array:
    """Draw masks and key points of the faces in a photo, and a legend.

    Args:
        image: (H, W, 3) uint8 RGB, the image that was parsed.
        faces: what was found in it; where they overlap, the first lies on top.

    Returns:
        uint8 RGB; the photo (enlarged where its longer side is under 768 pixels) with the legend at its right.
    """
    scale = max(1.0, LEGIBLE_SIDE / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    photo = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if scale > 1 else image, np.uint8)
    mask = merge_masks(faces, (image.shape[0], image.shape[1]))
    if scale > 1:
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    blended = cv2.addWeighted(photo, 1 - OPACITY, colour_mask(mask), OPACITY, 0)
    canvas = np.asarray(cv2.copyTo(blended, mask, photo.copy()), np.uint8)
    unit = max(size) / 100
    for attribute in (a for face in reversed(faces) for a in face.attributes.values()):
        # Pixel centres are whole numbers in both frames.
        points = (attribute.keypoints + 0.5) * scale - 0.5
        _draw_points(canvas, points, PALETTE[attribute.id], unit)
    return np.concatenate([canvas, _legend(faces, size[1], unit)], axis=1)


def _draw_points(canvas: UInt8Array, points: npt.NDArray[np.floating], colour: tuple[int, ...], unit: float) -> None:
    """Draw dots with a dark rim, so that they show on any skin or hair; smaller where they would touch."""
    spacing = np.linalg.norm(np.diff(points, axis=0), axis=1)
    unit = float(np.clip(np.median(spacing), 0.4 * unit, unit)) if len(spacing) else unit
    for centre in np.round(points * (1 << SUBPIXEL_BITS)).astype(int).tolist():
        for radius, ink in ((0.42 * unit, (20, 20, 20)), (0.28 * unit, colour)):
            fixed = round(radius * (1 << SUBPIXEL_BITS))
            cv2.circle(canvas, centre, fixed, ink, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _legend(faces: Sequence[Face], height: int, unit: float) -> UInt8Array:
    """Return a panel `height` pixels high that names each colour and says how sure the parser is, of the first face."""
    named = {a.id: a for face in reversed(faces) for a in face.attributes.values()}
    line = min(3.4 * unit, height / (len(ATTRIBUTES) + 1))
    font = ImageFont.load_default(size=max(8.0, 0.68 * line))
    panel = Image.new("RGB", (round(12 * line * 0.72), height), (250, 250, 250))
    draw = ImageDraw.Draw(panel)
    for row, attribute in enumerate(named[i] for i in sorted(named)):
        top = line * (row + 0.6)
        draw.rectangle(
            (0.5 * line, top, 1.2 * line, top + 0.7 * line), fill=PALETTE[attribute.id], outline=(60, 60, 60)
        )
        text = f"{attribute.name}  {attribute.confidence:.2f}"
        draw.text((1.6 * line, top + 0.35 * line), text, fill=(30, 30, 30), font=font, anchor="lm")
    return np.array(panel)

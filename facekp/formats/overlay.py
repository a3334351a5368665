"""Pictures of a parsed face: coloured masks, key points and a legend over the photo."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from facekp.classes import PALETTE
from facekp.images import UInt8Array
from facekp.keypoints.outlines import Points
from facekp.parsing.face import Attribute, Face, merge_masks

OPACITY = 0.45
LEGIBLE_SIDE = 768
"""Smaller photos are enlarged to this, so that the legend can be read."""
WIDE = 2.0
LINE = 0.12  # of the unit, a hundredth of the photo's side
LEAST_LINE = 18.0  # pixels of the legend: its letters are two thirds as high
SUBPIXEL_BITS = 4


def colour_mask(mask: UInt8Array) -> UInt8Array:
    """Return the colours (H, W, 3) uint8 RGB of a mask (H, W) uint8 of class ids; other values are black."""
    table = np.zeros((256, 1, 3), dtype=np.uint8)
    table[: len(PALETTE), 0] = PALETTE
    return np.asarray(cv2.LUT(cv2.merge([mask] * 3), table), np.uint8)


def blend_mask(image: UInt8Array, mask: UInt8Array) -> UInt8Array:
    """Return `image` (H, W, 3) uint8 RGB tinted with the colours of its mask (H, W) uint8, but for background."""
    blended = cv2.addWeighted(image, 1 - OPACITY, colour_mask(mask), OPACITY, 0)
    return np.asarray(cv2.copyTo(blended, mask, image.copy()), np.uint8)


def draw_overlay(image: UInt8Array, faces: Sequence[Face]) -> UInt8Array:
    """Draw masks, outlines and key points of the faces in a photo, and a legend.

    Args:
        image: (H, W, 3) uint8 RGB, the image that was parsed.
        faces: what was found in it; where they overlap, the first lies on top.

    Returns:
        uint8 RGB; the photo (enlarged where its longer side is under 768 pixels) with the legend at its right, or below
        it where it is more than twice as wide as high.
    """
    scale = max(1.0, LEGIBLE_SIDE / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    photo = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if scale > 1 else image, np.uint8)
    mask = merge_masks(faces, (image.shape[0], image.shape[1]))
    if scale > 1:
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    canvas = blend_mask(photo, mask)
    unit = math.sqrt(size[0] * size[1]) / 100
    # Of an outline in a large photo, whose points lie a pixel apart, fewer look the same.
    width, step = max(1, round(LINE * unit)), max(1, int(LINE * unit / scale))
    attributes = [attribute for face in reversed(faces) for attribute in face.attributes.values()]
    for attribute in attributes:
        curves = [_fixed_point(_enlarged(contour.points[::step], scale)) for contour in attribute.contours]
        cv2.polylines(canvas, curves, True, PALETTE[attribute.id], width, cv2.LINE_AA, SUBPIXEL_BITS)
    for attribute in attributes:
        _draw_points(canvas, _enlarged(attribute.keypoints, scale), PALETTE[attribute.id], unit)
    beneath = size[0] > WIDE * size[1]
    return np.concatenate([canvas, _legend(attributes, size, unit, beneath=beneath)], axis=0 if beneath else 1)


def _enlarged(points: Points, scale: float) -> Points:
    """Return points (n, 2) of the photo in pixels of the enlarged one; pixel centres are whole numbers in both."""
    return (points + 0.5) * scale - 0.5


def _fixed_point(points: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """Return points (n, 2) as OpenCV takes them, in units of a pixel / 2 ** SUBPIXEL_BITS."""
    return np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _draw_points(canvas: UInt8Array, points: npt.NDArray[np.floating], colour: tuple[int, ...], unit: float) -> None:
    """Draw dots with a dark rim, so that they show on any skin or hair; smaller where they would touch."""
    spacing = np.linalg.norm(np.diff(points, axis=0), axis=1)
    unit = float(np.clip(np.median(spacing), 0.4 * unit, unit)) if len(spacing) else unit
    for centre in _fixed_point(points).tolist():
        for radius, ink in ((0.42 * unit, (20, 20, 20)), (0.28 * unit, colour)):
            fixed = round(radius * (1 << SUBPIXEL_BITS))
            cv2.circle(canvas, centre, fixed, ink, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _legend(attributes: Sequence[Attribute], size: tuple[int, int], unit: float, *, beneath: bool) -> UInt8Array:
    """Return a panel that names each colour and says how sure the parser is.

    Args:
        attributes: what is in the photo; of one that is there several times the last counts.
        size: (W, H) of the photo; the panel is as wide as it if it goes beneath, else as high.
        unit: a hundredth of the photo's side.
        beneath: where the panel goes.
    """
    named = {attribute.id: attribute for attribute in attributes}
    line = max(LEAST_LINE, 3.4 * unit)
    # For as many as there can be, so that the frames of a video are of one size.
    column, count = 6.4 * line, len(PALETTE) - 1
    rows = math.ceil(count / max(1, int(size[0] / column))) if beneath else max(1, int(size[1] / line - 0.6))
    across, down = (size[0], (rows + 0.6) * line) if beneath else (math.ceil(count / rows) * column, size[1])
    panel = Image.new("RGB", (round(across), round(down)), (250, 250, 250))
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(size=0.68 * line)
    for k, attribute in enumerate(named[i] for i in sorted(named)):
        left, top = k // rows * column, line * (k % rows + 0.4)
        box = (left + 0.5 * line, top, left + 1.2 * line, top + 0.7 * line)
        draw.rectangle(box, fill=PALETTE[attribute.id], outline=(60, 60, 60))
        text = f"{attribute.name}  {attribute.confidence:.2f}"
        draw.text((left + 1.6 * line, top + 0.35 * line), text, fill=(30, 30, 30), font=font, anchor="lm")
    return np.array(panel)

"""Overlays of parsed faces: coloured masks, outlines, key points and a legend over the photo."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.images import UInt8Array
from facekp.keypoints.curves import Points
from facekp.parsing.attribute import Attribute

OPACITY = 0.45
LEGIBLE_SIDE = 768
"""Smaller photos are enlarged to this longer side, so that points and legend are legible."""
MAX_ASPECT = 2.0
"""Photos with a larger aspect ratio (width / height) have the legend below, others beside."""
LINE = 0.12  # width of outlines, in hundredths of the photo's side
MIN_ROW = 18.0  # height of a legend row in pixels; letters are two thirds as high
SUBPIXEL_BITS = 4
INK, LANDMARK, PAPER = (20, 20, 20), (255, 255, 255), (250, 250, 250)


@dataclass(frozen=True)
class Style:
    """What an overlay shows.

    Attributes:
        opacity: of the masks, 0..1; 0 hides them.
        outlines: whether to draw the attributes' outlines.
        keypoints: whether to draw their key points.
        landmarks: whether to draw the landmarks; hidden ones are hollow, absent ones left out.
        names: whether to write the landmarks' names beside them, except where they would cover another name.
        legend: whether to add the legend.
    """

    opacity: float = OPACITY
    outlines: bool = True
    keypoints: bool = True
    landmarks: bool = False
    names: bool = False
    legend: bool = True


class Parsed(Protocol):
    """The parts of a face that an overlay shows; see `facekp.parsing.face.Face`."""

    @property
    def mask(self) -> UInt8Array: ...  # noqa: D102
    @property
    def attributes(self) -> Mapping[str, Attribute]: ...  # noqa: D102
    @property
    def landmarks(self) -> Mapping[str, Any]: ...  # noqa: D102  # importing Landmark would lengthen chains of imports


def merge_masks(faces: Sequence[Parsed], size: tuple[int, int]) -> UInt8Array:
    """Merge the masks of several faces into one (H, W) uint8; where they overlap, the earlier face wins."""
    mask = np.zeros(size, np.uint8)
    for face in faces:
        np.copyto(mask, face.mask, where=mask == 0)
    return mask


def blend_mask(
    image: UInt8Array, mask: UInt8Array, opacity: float = OPACITY, classes: Classes = CELEBAMASK_HQ
) -> UInt8Array:
    """Return `image` (H, W, 3) uint8 RGB tinted with the colours of its mask (H, W) uint8, except background."""
    table = np.zeros((256, 1, 3), dtype=np.uint8)
    table[: len(classes), 0] = classes.colours
    colours = cv2.LUT(cv2.merge([mask] * 3), table)
    return cv2.copyTo(cv2.addWeighted(image, 1 - opacity, colours, opacity, 0), mask, image.copy())


def draw_overlay(
    image: UInt8Array, faces: Sequence[Parsed], style: Style = Style(), classes: Classes = CELEBAMASK_HQ
) -> UInt8Array:
    """Draw masks, outlines, points and a legend over a photo.

    Args:
        image: (H, W, 3) uint8 RGB, the image that was parsed.
        faces: those found in it; where they overlap, the first lies on top.
        style: what to draw.
        classes: those of the faces.

    Returns:
        uint8 RGB; the photo (enlarged if its longer side is under 768 pixels) with the legend to its right, or below
        if the photo is more than twice as wide as high.
    """
    scale = max(1.0, LEGIBLE_SIDE / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    mask = merge_masks(faces, (image.shape[0], image.shape[1]))
    if scale > 1:
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    canvas = blend_mask(image, mask, style.opacity, classes)
    unit = math.sqrt(size[0] * size[1]) / 100
    # In a large photo, whose outlines have a point per pixel, fewer points look the same.
    width, step = max(1, round(LINE * unit)), max(1, int(LINE * unit / scale))
    attributes = [attribute for face in reversed(faces) for attribute in face.attributes.values()]
    for attribute in attributes if style.outlines else ():
        curves = [_fixed_point(contour.points[::step], scale) for contour in attribute.contours]
        cv2.polylines(canvas, curves, True, classes.colours[attribute.id], width, cv2.LINE_AA, SUBPIXEL_BITS)
    for attribute in attributes if style.keypoints else ():
        _draw_points(canvas, attribute.keypoints, scale, classes.colours[attribute.id], unit)
    if style.landmarks or style.names:
        canvas = _with_landmarks(canvas, faces, scale, style)
    if not style.legend:
        return canvas
    beneath = size[0] > MAX_ASPECT * size[1]
    return np.concatenate([canvas, _legend(attributes, size, unit, classes, beneath=beneath)], axis=0 if beneath else 1)


def _with_landmarks(canvas: UInt8Array, faces: Sequence[Parsed], scale: float, style: Style) -> UInt8Array:
    """Return the canvas with the landmarks of each face as dots as large as the face allows, and their names."""
    picture = Image.fromarray(canvas)
    draw, taken = ImageDraw.Draw(picture), list[tuple[float, float, float, float]]()
    for face in faces:
        places = {
            name: ((landmark.xy + 0.5) * scale, landmark.visible)
            for name, landmark in face.landmarks.items()
            if landmark.xy is not None
        }
        if not places:
            continue
        height = float(np.ptp([y for (_, y), _ in places.values()]))
        radius, font = max(1.5, height / 90), ImageFont.load_default(size=max(12.0, height / 26))
        if style.landmarks:
            for (x, y), visible in places.values():
                box = (x - radius, y - radius, x + radius, y + radius)
                draw.ellipse(box, fill=LANDMARK if visible else None, outline=INK if visible else LANDMARK)
        for name, ((x, y), _) in places.items() if style.names else ():
            at = (x + 1.6 * radius, y)
            box = draw.textbbox(at, name, font, anchor="lm")
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                taken.append(box)
                draw.text(at, name, LANDMARK, font, anchor="lm", stroke_width=max(1, radius / 3), stroke_fill=INK)
    return np.array(picture)


def _fixed_point(points: npt.NDArray[np.floating], scale: float) -> npt.NDArray[np.int32]:
    """Return points (n, 2) of the photo, enlarged, in OpenCV's units of 1 / 2 ** SUBPIXEL_BITS pixels."""
    enlarged = (points + 0.5) * scale - 0.5  # pixel centres are integers in both
    return np.round(enlarged * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _draw_points(canvas: UInt8Array, points: Points, scale: float, colour: tuple[int, ...], unit: float) -> None:
    """Draw dots with a dark rim, visible on any skin or hair; smaller ones if they would touch."""
    spacing = scale * np.linalg.norm(np.diff(points, axis=0), axis=1)
    unit = float(np.clip(np.median(spacing), 0.4 * unit, unit)) if len(spacing) else unit
    for centre in _fixed_point(points, scale).tolist():
        for radius, ink in ((0.42 * unit, INK), (0.28 * unit, colour)):
            fixed = round(radius * (1 << SUBPIXEL_BITS))
            cv2.circle(canvas, centre, fixed, ink, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _legend(
    attributes: Sequence[Attribute], size: tuple[int, int], unit: float, classes: Classes, *, beneath: bool
) -> UInt8Array:
    """Return a panel with each colour's name and confidence; if a name occurs several times, the last counts.

    It is as wide as the photo of `size` (W, H) if placed `beneath` it, otherwise as high.
    """
    named = {attribute.id: attribute for attribute in attributes}
    line = max(MIN_ROW, 3.4 * unit)
    # Room for all attributes, so that all frames of a video have the same size.
    column, count = 6.4 * line, len(classes) - 1
    rows = math.ceil(count / max(1, int(size[0] / column))) if beneath else max(1, int(size[1] / line - 0.6))
    across, down = (size[0], (rows + 0.6) * line) if beneath else (math.ceil(count / rows) * column, size[1])
    panel = Image.new("RGB", (round(across), round(down)), PAPER)
    draw = ImageDraw.Draw(panel)
    for k, attribute in enumerate(named[i] for i in sorted(named)):
        left, top = k // rows * column, line * (k % rows + 0.4)
        box = (left + 0.5 * line, top, left + 1.2 * line, top + 0.7 * line)
        draw.rectangle(box, fill=classes.colours[attribute.id], outline=(60, 60, 60))
        x = left + 1.6 * line
        for text in (f"{attribute.name}  ", f"{attribute.confidence:.2f}"):
            written = _written(text, line)
            panel.paste(written, (round(x), round(top - 0.15 * line)))
            x += written.width
    return np.array(panel)


@lru_cache(maxsize=1024)
def _written(text: str, line: float) -> Image.Image:
    """Return a piece of a legend's row, as high as the row; FreeType takes longer than all else in an overlay."""
    font = ImageFont.load_default(size=0.68 * line)
    image = Image.new("RGB", (max(1, round(font.getlength(text))), round(line)), PAPER)
    ImageDraw.Draw(image).text((0, line / 2), text, fill=(30, 30, 30), font=font, anchor="lm")
    return image

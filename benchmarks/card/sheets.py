"""Pictures of the worst images, to be looked at and never to be passed on: they show CelebAMask-HQ's faces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facekp.attributes import ATTRIBUTES, PALETTE
from facekp.folder import make_folder, replacing
from facekp.images import UInt8Array, resize
from facekp.overlay import blend_mask

TERMS = "faces of CelebAMask-HQ: not to be published, committed or passed on"
SIDE, SMALL = 512, 256
"""Of a photo in pixels, in a picture of its own and on a sheet."""
COLUMNS, ROWS = 2, 5
"""Of a sheet."""
GAP, FONT = 12, 15
LINE = 20
WHITE, INK, PALE = (255, 255, 255), (30, 30, 30), (110, 110, 110)


@dataclass(frozen=True)
class Shown:
    """What is drawn of an image: photo (H, W, 3) uint8 RGB, true and predicted mask (H, W) uint8, two lines of text."""

    photo: UInt8Array
    truth: UInt8Array
    mask: UInt8Array
    title: str
    lost: str


def write_pictures(folder: Path, images: Sequence[Shown]) -> None:
    """Write `worst-01.png`, ... and sheets of ten, `sheet-1.png`, ..., and let git ignore the folder.

    Raises:
        DataError: the folder cannot be written.
    """
    make_folder(folder)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    for i, shown in enumerate(images, 1):
        with replacing(folder / f"worst-{i:02}.png") as part:
            draw_image(shown, SIDE).save(part, format="PNG")
    for i, sheet in enumerate(draw_sheets(images), 1):
        with replacing(folder / f"sheet-{i}.png") as part:
            sheet.save(part, format="PNG")


def draw_image(shown: Shown, side: int) -> Image.Image:
    """Return photo, truth and prediction side by side, (3 * side) x (side + 2 lines), under their two lines of text."""
    size = (side, side)
    photo = resize(shown.photo, size)
    panels = [photo, *(resize(blend_mask(shown.photo, mask), size) for mask in (shown.truth, shown.mask))]
    picture = Image.new("RGB", (3 * side, side + 2 * LINE), WHITE)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=FONT)
    draw.text((2, 0), shown.title, fill=INK, font=font)
    draw.text((2, LINE - 2), shown.lost, fill=PALE, font=font)
    picture.paste(Image.fromarray(np.concatenate(panels, axis=1)), (0, 2 * LINE))
    return picture


def draw_sheets(images: Sequence[Shown]) -> Iterator[Image.Image]:
    """Yield sheets of ten images, from left to right and then down, with the terms above and the colours below."""
    across, down = 3 * SMALL + GAP, SMALL + 2 * LINE + GAP
    for start in range(0, len(images), COLUMNS * ROWS):
        shown = images[start : start + COLUMNS * ROWS]
        rows = -(-len(shown) // COLUMNS)
        page = Image.new("RGB", (COLUMNS * across + GAP, 2 * LINE + rows * down + 2 * LINE), WHITE)
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=FONT)
        heading = f"{start + 1} to {start + len(shown)}: photo, truth, prediction ({TERMS})"
        draw.text((GAP, LINE // 2), heading, fill=INK, font=font)
        for k, one in enumerate(shown):
            corner = (GAP + k % COLUMNS * across, 2 * LINE + k // COLUMNS * down)
            page.paste(draw_image(one, SMALL), corner)
        _draw_colours(draw, font, page.width, page.height - LINE - LINE // 2)
        yield page


def _draw_colours(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, top: int
) -> None:
    step = (width - GAP) / (len(PALETTE) - 1)
    for i in range(1, len(PALETTE)):
        left = GAP + (i - 1) * step
        draw.rectangle((left, top, left + 14, top + 14), fill=PALETTE[i], outline=PALE)
        draw.text((left + 20, top - 2), ATTRIBUTES[i], fill=INK, font=font)

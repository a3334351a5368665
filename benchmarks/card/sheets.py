"""Pictures of the worst images, to be looked at and never to be passed on: they show CelebAMask-HQ's faces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from facekp.classes import ATTRIBUTES, PALETTE
from facekp.errors import require
from facekp.files import make_folder, replacing
from facekp.images import UInt8Array
from facekp.parsing.overlay import blend_mask

HEADING = "photo, ground truth, prediction (faces of CelebAMask-HQ: not to be published, committed or passed on)"
COLUMNS, ROWS = 2, 5
"""Images of a sheet."""
IGNORE_ALL = b"*\n"
"""A .gitignore by which git leaves a folder out, and by which we know one of ours."""
CHARACTERS = 120
"""Of a line of text above an image."""


@dataclass(frozen=True)
class Shown:
    """What is drawn of an image: photo (H, W, 3) uint8 RGB, true and predicted mask (H, W) uint8, lines of text."""

    photo: UInt8Array
    truth: UInt8Array
    mask: UInt8Array
    text: str


def claim_folder(folder: Path) -> None:
    """Make a folder ready for sheets: out of git's sight, and without those of an earlier call.

    Raises:
        ConfigError: there is something in it, and it is none that an earlier call made.
        DataError: it cannot be written.
    """
    make_folder(folder)
    ignored = folder / ".gitignore"
    ours = ignored.is_file() and ignored.read_bytes() == IGNORE_ALL
    free = ours or not any(folder.iterdir())
    require("pictures", str(folder), free, "there are other files in it; give a new or an empty folder")
    ignored.write_bytes(IGNORE_ALL)
    for sheet in folder.glob("sheet-*.png"):
        sheet.unlink()


def write_sheets(folder: Path, images: Iterator[Shown]) -> None:
    """Write `sheet-1.png`, ..., ten images on each, as they come.

    Raises:
        DataError: the folder cannot be written.
    """
    for number in count(1):
        shown = list(islice(images, COLUMNS * ROWS))
        if not shown:
            return
        with replacing(folder / f"sheet-{number}.png") as part:
            draw_sheet(shown).savefig(part, format="png")


def draw_sheet(images: Sequence[Shown]) -> Figure:
    """Draw images from left to right and then down, each as photo, ground truth and prediction; the colours below."""
    rows = -(-len(images) // COLUMNS)
    figure = Figure(figsize=(16, 3.1 * rows + 1), dpi=100, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, shown in zip(panels, images, strict=False):  # the last row may not be full
        masks = [blend_mask(shown.photo, mask) for mask in (shown.truth, shown.mask)]
        panel.imshow(np.concatenate([shown.photo, *masks], axis=1))
        lines = [fill(line, CHARACTERS) for line in shown.text.splitlines()]
        panel.set_title("\n".join(lines), loc="left", fontsize=8)
    colours = [Patch(color=f"#{bytes(PALETTE[i]).hex()}", label=ATTRIBUTES[i]) for i in range(1, len(ATTRIBUTES))]
    figure.legend(handles=colours, loc="outside lower center", ncols=len(colours), fontsize=8, frameon=False)
    figure.suptitle(HEADING, fontsize=10)
    return figure

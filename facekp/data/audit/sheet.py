"""The contact sheet of an audit: one HTML file that holds its pictures and needs no network."""

import base64
import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment
from PIL import Image

from facekp.classes import ATTRIBUTES, PALETTE
from facekp.data.audit.findings import KINDS, Finding
from facekp.data.audit.template import PAGE
from facekp.data.layout import IMAGES, LABELS
from facekp.errors import DataError
from facekp.files import replacing
from facekp.images import UInt8Array, palette_image, read_image, read_label, resize

SIDE = 192  # of a thumbnail, pixels
OPACITY = 0.5
QUALITY = 80


@dataclass(frozen=True)
class Card:
    """A finding and its picture: JPEG in base64, or "" where nothing of it can be read."""

    finding: Finding
    picture: str


@dataclass(frozen=True)
class Section:
    """The cards of a kind, and how many it has in all."""

    name: str
    title: str
    total: int
    cards: list[Card]


def write_sheet(path: Path, root: Path, findings: Sequence[Finding], images: int, *, most: int, workers: int) -> None:
    """Write the contact sheet.

    Args:
        path: the HTML file.
        root: the prepared data set.
        findings: what the audit found, sorted by kind.
        images: number of images that were looked at.
        most: pictures of a kind, at most; the table has all.
        workers: threads.

    Raises:
        DataError: the file cannot be written.
    """
    with ThreadPoolExecutor(workers) as pool:
        sections = []
        for name, group in groupby(findings, key=lambda finding: finding.kind):
            of_kind = list(group)
            shown = of_kind[:most]
            pictures = pool.map(lambda finding: draw_card(root, finding), shown)
            cards = [Card(finding, picture) for finding, picture in zip(shown, pictures, strict=True)]
            sections.append(Section(name, KINDS[name].title, len(of_kind), cards))
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
    legend = [(name, "#{:02x}{:02x}{:02x}".format(*PALETTE[i])) for i, name in enumerate(ATTRIBUTES) if i]
    left_out = len({finding.id for finding in findings if finding.excluded})
    html = page.render(root=root, images=images, sections=sections, legend=legend, left_out=left_out, side=SIDE)
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")


def draw_card(root: Path, finding: Finding) -> str:
    """Return photo and overlay side by side, of both images where there are two, as JPEG in base64; "" without any."""
    ids = [finding.id, finding.other_id] if finding.other_id else [finding.id]
    halves = [half for name in ids for half in _halves(root, name)]
    if not halves:
        return ""
    file = io.BytesIO()
    Image.fromarray(np.concatenate(halves, axis=1)).save(file, format="JPEG", quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _halves(root: Path, name: str) -> Iterable[UInt8Array]:
    """Yield what can be read of an image: the photo, and the label's colours over it."""
    photo = np.full((SIDE, SIDE, 3), 40, np.uint8)
    try:
        photo = _fit(read_image(root / IMAGES / f"{name}.jpg"))
        yield photo
    except DataError:
        pass
    try:
        # Colours are averaged, not ids, so that a small part is still seen.
        colours = _fit(np.array(palette_image(read_label(root / LABELS / f"{name}.png")).convert("RGB")))
        yield np.asarray(cv2.addWeighted(photo, 1 - OPACITY, colours, OPACITY, 0), np.uint8)
    except DataError:
        pass


def _fit(picture: UInt8Array) -> UInt8Array:
    """Bring a picture of any shape into the square, in its own proportions, on black."""
    scale = SIDE / max(picture.shape[:2])
    small = resize(picture, (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))))
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    square[: small.shape[0], : small.shape[1]] = small
    return square

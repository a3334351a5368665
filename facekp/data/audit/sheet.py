"""The contact sheet of an audit: a single HTML file with embedded pictures."""

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import numpy as np
from jinja2 import Template
from joblib import Parallel, delayed
from PIL import Image

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.data.audit.findings import KINDS, Finding
from facekp.data.class_sets import read_classes
from facekp.data.layout import IMAGES, LABELS
from facekp.errors import DataError
from facekp.files import write_file
from facekp.images import palette_image, read_image, read_label

SIDE = 192  # of a thumbnail, pixels
OPACITY = 0.5
QUALITY = 80
PAGE = rb"<!doctype html>.{,300}<title>Audit of "  # regular expression for the first bytes of a sheet


def write_sheet(path: Path, root: Path, findings: Sequence[Finding], images: int, *, limit: int, workers: int) -> None:
    """Write the contact sheet of `findings`, sorted by kind, in a data set of `images`; show up to `limit` of a kind.

    Raises:
        DataError: the file cannot be written.
    """
    sections, classes = [], read_classes(root)
    for name, group in groupby(findings, key=lambda finding: finding.kind):
        own = list(group)
        pictures = Parallel(workers, backend="threading")(
            delayed(draw_card)(root, found, classes) for found in own[:limit]
        )
        cards = list(zip(own[:limit], pictures, strict=True))
        sections.append({"name": name, "title": KINDS[name].title, "total": len(own), "cards": cards})
    source = Path(__file__).with_name("sheet.html.j2").read_text(encoding="utf-8")
    html = Template(source, autoescape=True, trim_blocks=True, lstrip_blocks=True).render(
        root=root,
        images=images,
        sections=sections,
        legend=[(name, "#{:02x}{:02x}{:02x}".format(*classes.colours[i])) for i, name in enumerate(classes.names) if i],
        excluded=len({finding.id for finding in findings if finding.exclude == "yes"}),
        side=SIDE,
    )
    write_file(path, html)


def draw_card(root: Path, finding: Finding, classes: Classes = CELEBAMASK_HQ) -> str:
    """Return photo and overlay of the images of a finding side by side, as JPEG in base64; "" if none is readable."""
    halves = []
    for name in filter(None, (finding.id, finding.other_id)):
        photo = Image.new("RGB", (SIDE, SIDE), (40, 40, 40))
        with suppress(DataError):
            photo = _fit(Image.fromarray(read_image(root / IMAGES / f"{name}.jpg")))
            halves.append(photo)
        with suppress(DataError):
            label = read_label(root / LABELS / f"{name}.png", classes)
            # Colours are averaged, not ids, so that small parts stay visible.
            halves.append(Image.blend(photo, _fit(palette_image(label, classes.colours).convert("RGB")), OPACITY))
    if not halves:
        return ""
    file = io.BytesIO()
    Image.fromarray(np.hstack([np.asarray(half) for half in halves])).save(file, format="JPEG", quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _fit(picture: Image.Image) -> Image.Image:
    """Fit a picture into the square, keeping its proportions, on black."""
    width, height = (max(1, round(SIDE * side / max(picture.size))) for side in picture.size)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(picture.resize((width, height), Image.Resampling.BILINEAR))
    return square

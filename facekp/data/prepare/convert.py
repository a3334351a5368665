"""Conversion of one face to the prepared layout; without torch, so that worker processes start fast."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from facekp.classes import ATTRIBUTES, NUM_CLASSES
from facekp.data.layout import IMAGES, LABELS
from facekp.data.prepare.official import composite, load_image, load_mask
from facekp.data.prepare.summary import Problem
from facekp.errors import DataError
from facekp.files import replacing, write_file
from facekp.images import UInt8Array, read_label, resize, write_label

JPEG_QUALITY = 95
JPEG_END = b"\xff\xd9"
ALWAYS = (1, 2)
"""Skin and nose: every labelled face has them."""
NOTE = "facekp:made-from"
"""PNG text chunk in a label that lists the masks it was made from and their problems."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Face:
    """The files of one id in the official folder `raw`: the image, and its masks by class id."""

    raw: Path
    id: int
    image: Path
    masks: dict[int, Path]

    def prepared(self, out: Path) -> tuple[Path, Path]:
        """Return its image and its label in the prepared folder."""
        return out / IMAGES / f"{self.id:05d}.jpg", out / LABELS / f"{self.id:05d}.png"

    def problem(self, kind: str, path: Path, detail: str = "") -> Problem:
        """Describe a problem of one of the face's files."""
        return Problem(kind, path.relative_to(self.raw).as_posix(), detail)


@dataclass(frozen=True)
class Prepared:
    """A face in the prepared folder, or one that cannot be prepared.

    `pixels` are (19,) int64, pixels of each class; None if the face cannot be prepared.
    """

    id: int
    pixels: Counts | None
    problems: tuple[Problem, ...] = ()


def convert(face: Face, out: Path, size: int) -> Prepared:
    """Write a face's image and label to `out`, at `size` pixels.

    Raises:
        DataError: `out` cannot be written. Unreadable files raise nothing: they are listed in the face's problems.
    """
    try:
        kind, path = "image that cannot be used", face.image
        image = load_image(path)
        kind, masks = "mask that cannot be read", dict[int, UInt8Array]()
        for class_id, path in face.masks.items():
            masks[class_id] = load_mask(path)
    except DataError as error:
        return Prepared(face.id, None, (face.problem(kind, path, str(error).partition(": ")[2].rpartition("; ")[0]),))
    problems = tuple(_inspect(face, image, masks))
    bgr, label = resize(image, (size, size))[..., ::-1], composite(masks, size)
    image_path, label_path = face.prepared(out)
    write_file(image_path, cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    # Stored in the label file itself, which is complete or absent after a kill.
    note = json.dumps({"masks": sorted(masks), "problems": problems})
    with replacing(label_path) as part:
        write_label(part, label, {NOTE: note})
    return Prepared(face.id, _count(label), problems)


def read_back(face: Face, out: Path) -> Prepared | None:
    """Return a face that `convert` wrote, or None if it must be written again.

    A kill leaves complete files or none, but a power failure may truncate a file, and more masks may have been unpacked
    since.
    """
    image, path = face.prepared(out)
    try:
        if not image.read_bytes().endswith(JPEG_END):
            return None
        label = read_label(path)
        with Image.open(path) as picture:
            note = json.loads(picture.info[NOTE])
        problems = tuple(Problem(*problem) for problem in note["problems"])
        return Prepared(face.id, _count(label), problems) if note["masks"] == sorted(face.masks) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _inspect(face: Face, image: UInt8Array, masks: dict[int, UInt8Array]) -> Iterator[Problem]:
    """Find the problems that do not prevent preparation."""
    usual = Counter(mask.shape for mask in masks.values()).most_common(1)[0][0]
    height, width, _ = image.shape
    if height != width:
        yield face.problem("image or mask that is not square", face.image, f"{width} x {height}")
    for class_id in ALWAYS:
        if class_id not in masks:
            yield face.problem("face without a skin or nose mask", face.image, ATTRIBUTES[class_id])
    for class_id, mask in masks.items():
        path, (height, width) = face.masks[class_id], mask.shape
        if mask.shape != usual:
            detail = f"{width} x {height}, the others {usual[1]} x {usual[0]}"
            yield face.problem("mask of another size than the face's other masks", path, detail)
        elif height != width:
            yield face.problem("image or mask that is not square", path, f"{width} x {height}")
        if not mask.any():
            yield face.problem("mask without a pixel", path)


def _count(label: UInt8Array) -> Counts:
    return np.bincount(label.ravel(), minlength=NUM_CLASSES)[:NUM_CLASSES]

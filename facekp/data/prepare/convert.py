"""One face from the official layout to the prepared one. Processes that do only this import no torch."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from facekp.classes import ATTRIBUTES, NUM_CLASSES
from facekp.data.layout import IMAGES, LABELS
from facekp.data.prepare.official import composite, load_image, load_mask
from facekp.data.prepare.problems import Kind, Problem
from facekp.errors import DataError
from facekp.files import replacing
from facekp.images import UInt8Array, read_label, resize, write_label

JPEG_QUALITY = 95
_JPEG_END = b"\xff\xd9"
_ALWAYS = (1, 2)
"""Skin and nose: every labelled face that was looked at has them."""
_NOTE = "facekp:made-from"
"""A label's text chunk that says which masks it was made from, and what was wrong with them."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Face:
    """What the official folder `raw` has of one id: the image, and its masks by class id."""

    raw: Path
    id: int
    image: Path
    masks: dict[int, Path]

    @property
    def name(self) -> str:
        """The id as prepared files are called."""
        return f"{self.id:05d}"

    def problem(self, kind: Kind, path: Path, detail: str = "") -> Problem:
        """Return a problem of one of the face's files."""
        return Problem(kind, path.relative_to(self.raw).as_posix(), detail)


@dataclass(frozen=True)
class Prepared:
    """A face that is in the prepared folder, or cannot be.

    Attributes:
        id: the face's.
        pixels: (19,) int64, of each class; None where the face cannot be prepared.
        problems: what was wrong with its files.
    """

    id: int
    pixels: Counts | None
    problems: tuple[Problem, ...] = ()


def convert(face: Face, out: Path, size: int) -> Prepared:
    """Write a face's image and label to `out`, at `size` pixels.

    Raises:
        DataError: `out` cannot be written. What cannot be read is no error here: it is among the face's problems.
    """
    try:
        kind, path = Kind.BAD_IMAGE, face.image
        image = load_image(path)
        kind, masks = Kind.BAD_MASK, dict[int, UInt8Array]()
        for class_id, path in face.masks.items():
            masks[class_id] = load_mask(path)
    except DataError as error:
        return Prepared(face.id, None, (face.problem(kind, path, str(error).partition(": ")[2].rpartition("; ")[0]),))
    problems = tuple(_inspect(face, image, masks))
    bgr, label = cv2.cvtColor(resize(image, (size, size)), cv2.COLOR_RGB2BGR), composite(masks, size)
    with replacing(out / IMAGES / f"{face.name}.jpg") as part:
        part.write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    # Inside the label's file: a start after a kill has to know it, and one file is never half there.
    note = json.dumps({"masks": sorted(masks), "problems": [astuple(problem) for problem in problems]})
    with replacing(out / LABELS / f"{face.name}.png") as part:
        write_label(part, label, {_NOTE: note})
    return Prepared(face.id, _count(label), problems)


def read_back(face: Face, out: Path) -> Prepared | None:
    """Return a face that `convert` has written, or None where it has to be written again.

    A kill leaves whole files or none, but a power failure may leave a file without its end; and masks may have come
    since, where they were still being unpacked.
    """
    path = out / LABELS / f"{face.name}.png"
    try:
        if not (out / IMAGES / f"{face.name}.jpg").read_bytes().endswith(_JPEG_END):
            return None
        label = read_label(path)
        with Image.open(path) as picture:
            note = json.loads(picture.info[_NOTE])
        problems = tuple(Problem(Kind(kind), *rest) for kind, *rest in note["problems"])
        return Prepared(face.id, _count(label), problems) if note["masks"] == sorted(face.masks) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _inspect(face: Face, image: UInt8Array, masks: dict[int, UInt8Array]) -> Iterator[Problem]:
    """Find what does not keep a face from being prepared."""
    usual = Counter(mask.shape for mask in masks.values()).most_common(1)[0][0]
    if image.shape[0] != image.shape[1]:
        yield face.problem(Kind.SHAPE, face.image, _size(image))
    for class_id in _ALWAYS:
        if class_id not in masks:
            yield face.problem(Kind.MISSING, face.image, ATTRIBUTES[class_id])
    for class_id, mask in masks.items():
        path = face.masks[class_id]
        if mask.shape != usual:
            yield face.problem(Kind.SIZE, path, f"{_size(mask)}, the others {usual[1]} x {usual[0]}")
        elif mask.shape[0] != mask.shape[1]:
            yield face.problem(Kind.SHAPE, path, _size(mask))
        if not mask.any():
            yield face.problem(Kind.EMPTY, path)


def _size(picture: UInt8Array) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


def _count(label: UInt8Array) -> Counts:
    counts: Counts = np.bincount(label.ravel(), minlength=NUM_CLASSES)[:NUM_CLASSES]
    return counts

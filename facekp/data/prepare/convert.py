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

from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX, Classes
from facekp.data.layout import IMAGES, LABELS, MIN_SIDE
from facekp.data.prepare.summary import Problem
from facekp.errors import DataError
from facekp.files import replacing, write_file
from facekp.images import UInt8Array, decoding, read_image, read_label, resize, write_label

NOTE = "facekp:made-from"  # PNG text chunk in a label that lists the masks it was made from and their problems

Counts = npt.NDArray[np.int64]
Id = int | str


def stem_of(index: Id) -> str:
    """Return the name of an image's files without suffixes."""
    return f"{index:05d}" if isinstance(index, int) else index


@dataclass(frozen=True)
class Face:
    """The files of one id in the folder `raw`: the image, and its masks by class id.

    Here they are as in CelebAMask-HQ; a data set with other masks has a class of its own.
    """

    raw: Path
    id: Id
    image: Path
    masks: dict[int, Path]

    def prepared(self, out: Path) -> tuple[Path, Path]:
        """Return its image and its label in the prepared folder."""
        return out / IMAGES / f"{stem_of(self.id)}.jpg", out / LABELS / f"{stem_of(self.id)}.png"

    def load(self, path: Path) -> UInt8Array:
        """Read a mask of any mode as (H, W) uint8, above 0 where the attribute is present.

        Raises:
            DataError: the file cannot be read.
        """
        with decoding(f"mask {path}", "unpack it again"), Image.open(path) as picture:
            return np.array(picture.convert("L"))

    def picture(self, image: UInt8Array, size: int) -> UInt8Array:
        """Return the prepared image (size, size, 3) uint8."""
        return resize(image, (size, size))

    def label(self, masks: dict[int, UInt8Array], size: int) -> UInt8Array:
        """Return the prepared label (size, size) uint8, in the ids of the data set's own classes.

        Where masks overlap, the highest id wins; where none is above 0, the label is 0.
        """
        label = np.zeros((size, size), np.uint8)
        for class_id, mask in sorted(masks.items()):
            label[cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT) > 0] = class_id
        return label

    def inspect(self, image: UInt8Array, masks: dict[int, UInt8Array]) -> Iterator[Problem]:
        """Find the problems that do not prevent preparation; raise DataError for one of the last mask that does."""
        usual = Counter(mask.shape for mask in masks.values()).most_common(1)[0][0]
        height, width, _ = image.shape
        if height != width:
            yield Problem.of("image or mask that is not square", self.raw, self.image, f"{width} x {height}")
        for class_id in sorted({1, 2} - masks.keys()):  # skin and nose, which every labelled face has
            name = CELEBAMASK_HQ.names[class_id]
            yield Problem.of("face without a skin or nose mask", self.raw, self.image, name)
        for class_id, mask in masks.items():
            path, (height, width) = self.masks[class_id], mask.shape
            if mask.shape != usual:
                detail = f"{width} x {height}, the others {usual[1]} x {usual[0]}"
                yield Problem.of("mask of another size than the face's other masks", self.raw, path, detail)
            elif height != width:
                yield Problem.of("image or mask that is not square", self.raw, path, f"{width} x {height}")
            if not mask.any():
                yield Problem.of("mask without a pixel", self.raw, path)


@dataclass(frozen=True)
class Prepared:
    """A face in the prepared folder, or one that cannot be prepared.

    `pixels` are (C,) int64, pixels of each class; None if the face cannot be prepared.
    """

    id: Id
    pixels: Counts | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Target:
    """The classes of prepared labels, and their id for each of the data set's own classes."""

    classes: Classes
    ids: tuple[int, ...]

    def label(self, own: UInt8Array) -> UInt8Array:
        """Return a label (H, W) uint8 of own ids, or 255, in the ids of `classes`."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        table[: len(self.ids)] = self.ids
        return cv2.LUT(own, table).astype(np.uint8, copy=False)

    def count(self, label: UInt8Array) -> Counts:
        """Return the pixels of each class, (C,) int64."""
        return np.bincount(label.ravel(), minlength=len(self.classes))[: len(self.classes)]


def convert(face: Face, out: Path, size: int, target: Target) -> Prepared:
    """Write a face's image and label to `out`, at `size` pixels.

    Raises:
        DataError: `out` cannot be written. Unreadable files raise nothing: they are listed in the face's problems.
    """
    try:
        kind, path = "image that cannot be used", face.image
        image = read_image(path)
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            need = f"need at least {MIN_SIDE} x {MIN_SIDE}"
            raise DataError(f"image {path}: {width} x {height} pixels, {need}; replace it")
        kind, masks = "mask that cannot be read", dict[int, UInt8Array]()
        for class_id, path in face.masks.items():
            masks[class_id] = face.load(path)
        problems = tuple(face.inspect(image, masks))
    except DataError as error:
        reason = str(error).partition(": ")[2].rpartition("; ")[0]
        return Prepared(face.id, None, (Problem.of(kind, face.raw, path, reason),))
    bgr, label = face.picture(image, size)[..., ::-1], target.label(face.label(masks, size))
    image_path, label_path = face.prepared(out)
    write_file(image_path, cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    # Stored in the label file itself, which is complete or absent after a kill.
    note = json.dumps({"masks": sorted(masks), "problems": problems})
    with replacing(label_path) as part:
        write_label(part, label, {NOTE: note}, target.classes.colours)
    return Prepared(face.id, target.count(label), problems)


def read_back(face: Face, out: Path, target: Target) -> Prepared | None:
    """Return a face that `convert` wrote, or None if it must be written again.

    A kill leaves complete files or none, but a power failure may truncate a file, and more masks may have been unpacked
    since.
    """
    image, path = face.prepared(out)
    try:
        if not image.read_bytes().endswith(b"\xff\xd9"):  # the end of a JPEG
            return None
        label = read_label(path, target.classes)
        with Image.open(path) as picture:
            note = json.loads(picture.info[NOTE])
        problems = tuple(Problem(*problem) for problem in note["problems"])
        return Prepared(face.id, target.count(label), problems) if note["masks"] == sorted(face.masks) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None

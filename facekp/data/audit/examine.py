"""The flaws of a single image, and the digests that it is compared with others by."""

import hashlib
from dataclasses import dataclass

import numpy as np

from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.data.audit.duplicates import thumbnail
from facekp.data.audit.findings import Flaw
from facekp.data.audit.geometry import SKIN, find_axes, find_patches
from facekp.data.audit.parts import check_missing, check_size
from facekp.data.audit.sides import check_sides
from facekp.data.layout import Sample
from facekp.errors import DataError
from facekp.images import UInt8Array, read_image, read_label, resize


@dataclass(frozen=True, eq=False)
class Examined:
    """An examined image: 4 kB, so that 30,000 fit in memory.

    Attributes:
        sample: the image and its label.
        flaws: its own flaws.
        thumb: (64, 64) uint8, grey, or None if the image is unreadable.
        image_digest: hash of the pixels; empty if the image is unreadable.
        label_digest: hash of the label; empty if it is unreadable or shows no face.
    """

    sample: Sample
    flaws: list[Flaw]
    thumb: UInt8Array | None = None
    image_digest: bytes = b""
    label_digest: bytes = b""


def examine(sample: Sample) -> Examined:
    """Read an image and its label, and report their flaws."""
    flaws: list[Flaw] = []
    pictures: list[UInt8Array | None] = []
    for read, path in ((read_image, sample.image), (read_label, sample.label)):
        try:
            pictures.append(read(path))
        except DataError as error:
            pictures.append(None)
            flaws.append(Flaw("unreadable", str(error)))
    image, label = pictures
    if image is not None and label is not None:
        flaws += check_face(image, label)
    return Examined(
        sample,
        flaws,
        thumb=None if image is None else thumbnail(image),
        image_digest=b"" if image is None else _digest(image),
        label_digest=b"" if label is None or not (label == SKIN).any() else _digest(label),
    )


def check_face(image: UInt8Array, label: UInt8Array) -> list[Flaw]:
    """Return the flaws of an image (H, W, 3) uint8 RGB and its label (h, w) uint8 of class ids or 255."""
    height, width = label.shape
    if image.shape[0] * width != image.shape[1] * height:
        return [Flaw("mismatch", f"image {image.shape[1]} x {image.shape[0]} pixels, label {width} x {height}")]
    counts = np.bincount(label.ravel(), minlength=IGNORE_INDEX + 1)[:NUM_CLASSES]
    flaws = check_size(counts)
    if not counts[SKIN]:
        return flaws
    patches = find_patches(label, counts)
    axes = find_axes(label, counts, patches)
    reversed_sides = check_sides(patches, axes)
    missing = check_missing(resize(image, (height, width)), label, counts, patches, axes)
    return flaws + [flaw for flaw in (reversed_sides, missing) if flaw]


def _digest(pixels: UInt8Array) -> bytes:
    return hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).digest()

"""Data sets as published, and those whose masks hold a class id in every pixel."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

from facekp.classes import IGNORE_INDEX, Classes
from facekp.data.crop import pad
from facekp.data.prepare.convert import Face, Id, stem_of
from facekp.data.prepare.summary import Problem
from facekp.errors import DataError
from facekp.images import UInt8Array, decoding, resize
from facekp.registry import Registry

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
Masks = Mapping[Any, dict[int, Path]]  # mask files by image id and class id


@dataclass(frozen=True)
class DataSet:
    """A data set as published.

    Attributes:
        splits: train, val or test by id.
        images: image files by id.
        find_masks: returns the masks, and the problems found while looking for them.
        face: makes a face of `raw`, an id, its image and its masks.
        digest: changes when something else that the result depends on does.
        mask_of: what a mask of the image `{}` is, for messages.
        masks_of: where the masks of the class `{}` are.
    """

    raw: Path
    classes: Classes
    splits: Mapping[Any, str]
    images: Mapping[Any, Path]
    find_masks: Callable[[], tuple[Masks, list[Problem]]]
    face: Callable[[Path, Id, Path, dict[int, Path]], Face] = Face
    digest: str = ""
    mask_of: str = "a mask of the same name"
    masks_of: str = "{}"

    def pair(self, skip_bad: bool) -> tuple[list[Face], list[Problem]]:
        """Return the faces with an image and masks, and the problems of the rest.

        Raises:
            DataError: images without masks that may not be skipped, or no face at all.
        """
        masks, problems = self.find_masks()
        bare = [i for i in self.images if i not in masks]
        if bare and (not skip_bad or len(bare) == len(self.images)):
            # Raised now, not after an hour: most often an archive of masks was not unpacked.
            first, few = self.images[bare[0]], f"{len(bare)} of {len(self.images)}"
            raise DataError(
                f"image {first}: image without {self.mask_of.format(stem_of(bare[0]))}, as {few} images are; unpack or "
                "add the masks, remove the images, or skip them with skip_bad=true"
            )
        problems = problems + [Problem.of("image without any mask", self.raw, self.images[i]) for i in bare]
        return [self.face(self.raw, i, path, masks[i]) for i, path in self.images.items() if i in masks], problems


SETS: Final[Registry[Callable[[Path], DataSet | None]]] = Registry("raw", "facekp.data.prepare.sets")
"""Functions that return the data set in a folder, or None if it is not laid out as theirs."""


@dataclass(frozen=True)
class LabelledFace(Face):
    """A face whose only mask holds a value for each pixel; `ids` maps the values to class ids.

    A picture that is not square is padded to one, in black and with the ignored label.
    """

    ids: Mapping[int, int] = field(default_factory=dict)

    def load(self, path: Path) -> UInt8Array:
        """Read the mask as (H, W) uint8 class ids, or 255.

        Raises:
            DataError: the file cannot be read, has several channels, or a value without a class.
        """
        with decoding(f"mask {path}", "replace it"), Image.open(path) as picture:
            mask = np.array(picture)
        if mask.ndim == 3 and (mask == mask[..., :1]).all():
            mask = mask[..., 0]
        if mask.ndim != 2 or mask.dtype.kind not in "bui":
            raise DataError(f"mask {path}: {mask.dtype} of shape {mask.shape}, need one channel of ids; convert it")
        table = np.full(256, IGNORE_INDEX, np.uint8)
        table[list(self.ids)] = list(self.ids.values())
        for value in np.unique(mask).tolist():
            if value not in self.ids and value != IGNORE_INDEX:
                raise DataError(f"mask {path}: value {value} has no class; add it to classes.json, or correct the mask")
        return table[mask.astype(np.uint8)]

    def picture(self, image: UInt8Array, size: int) -> UInt8Array:
        """Return the prepared image (size, size, 3) uint8."""
        return resize(pad(image, max(image.shape[:2]), 0), (size, size))

    def label(self, masks: dict[int, UInt8Array], size: int) -> UInt8Array:
        """Return the prepared label (size, size) uint8."""
        (mask,) = masks.values()
        square = pad(mask, max(mask.shape), IGNORE_INDEX)
        return cv2.resize(square, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)

    def inspect(self, image: UInt8Array, masks: dict[int, UInt8Array]) -> Iterator[Problem]:
        """Report a mask without a class; raise DataError if image and mask have different proportions."""
        ((key, mask),) = masks.items()
        height, width = image.shape[:2]
        if abs(height * mask.shape[1] - width * mask.shape[0]) > max(height, width):  # a pixel may be rounded away
            sizes = f"{mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}"
            raise DataError(f"mask {self.masks[key]}: {sizes}; they must cover the same frame")
        if not ((mask > 0) & (mask < IGNORE_INDEX)).any():
            yield Problem.of("mask without a pixel", self.raw, self.masks[key])


def labelled(
    raw: Path,
    classes: Classes,
    folders: Iterable[tuple[Path, Path, str | None]],
    *,
    ids: Mapping[int, int] | None = None,
    splits: Mapping[str, str] | None = None,
) -> DataSet:
    """Return a data set with one mask per image, of the same name, whose pixels hold class ids.

    `folders` are folders of images, those of their masks, and their split; None looks it up in `splits`, by name
    without a suffix, and leaves out images that have none. `ids` are class ids by value of the masks, if they differ.

    Raises:
        DataError: there is no image, or two have one name.
    """
    own = dict(ids) if ids else {i: i for i in range(len(classes))}
    split_of, images = dict[str, str](), dict[str, Path]()
    masks, ignored = dict[str, dict[int, Path]](), list[Problem]()

    def ignore(kind: str, path: Path) -> None:
        ignored.append(Problem.of(kind, raw, path))

    for pictures, labels, split in folders:
        found, shown = dict[str, Path](), set[str]()
        for path in visible(labels):
            if path.suffix.lower() not in SUFFIXES[2:]:
                ignore("file of a kind that is not read", path)
            elif found.setdefault(path.stem, path) is not path:
                ignore("second mask of one image", path)
        for path in visible(pictures):
            if path.suffix.lower() not in SUFFIXES:
                ignore("file of a kind that is not read", path)
                continue
            shown.add(path.stem)
            here = split or (splits or {}).get(path.stem)
            if here is None:
                ignore("image that no split lists", path)
                continue
            if path.stem in images:
                raise DataError(f"image {path}: has the same name as {images[path.stem]}; rename or remove one of them")
            images[path.stem], split_of[path.stem] = path, here
            if path.stem in found:
                masks[path.stem] = {0: found[path.stem]}
        for stem in found.keys() - shown:
            ignore("mask without an image", found[stem])
    if not images:
        raise DataError(f"folder '{raw}': no image, or none that its lists name; unpack it again, or correct the lists")
    digest = hashlib.sha256(repr((sorted(split_of.items()), sorted(own.items()))).encode()).hexdigest()
    return DataSet(raw, classes, split_of, images, lambda: (masks, ignored), partial(LabelledFace, ids=own), digest)


def visible(folder: Path) -> list[Path]:
    """Return what a folder contains, sorted, without hidden files; `glob` would find nothing without permission."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def share_splits(stems: Iterable[str], seed: int = 0) -> dict[str, str]:
    """Return a split for each image: a tenth val, a tenth test, at least one val, the rest train.

    Example:
        >>> sorted(share_splits("abcdefghij").values())
        ['test', 'train', 'train', 'train', 'train', 'train', 'train', 'train', 'train', 'val']
    """
    shuffled = sorted(stems)
    random.Random(seed).shuffle(shuffled)
    tenth = len(shuffled) // 10
    val, test = max(1, tenth), max(1, tenth) + tenth
    return {stem: "val" if k < val else "test" if k < test else "train" for k, stem in enumerate(shuffled)}

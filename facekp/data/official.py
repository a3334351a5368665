"""Reading the official CelebAMask-HQ folder: images, one mask file an attribute, and the split its mapping implies."""

import os
import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facekp.attributes import ATTRIBUTES
from facekp.data.layout import OFFICIAL_IMAGES, OFFICIAL_MAPPING, OFFICIAL_MASKS
from facekp.errors import DataError
from facekp.images import UInt8Array, decoding, read_image

LAST_TRAIN, LAST_VAL = 162770, 182637
"""Last number of a CelebA file (`orig_file`) that belongs to train, and to val; test is what follows."""

MIN_SIDE = 32
"""Smallest side in pixels of an image that is prepared: below it no network of ours has a pixel left."""

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
_MASK_NAME = re.compile(r"(\d+)_(\w+)\.png", re.IGNORECASE)
_CLASS_IDS = {name: index for index, name in enumerate(ATTRIBUTES) if index}


def split_of(orig_file: str) -> str:
    """Return the official split of the CelebA file `orig_file`, such as "162771.jpg" (val).

    Raises:
        ValueError: the name is no number.
    """
    number = int(Path(orig_file).stem)
    return "train" if number <= LAST_TRAIN else "val" if number <= LAST_VAL else "test"


def read_mapping(path: Path) -> dict[int, str]:
    """Return the split of every id in the mapping file, whose rows are `idx orig_idx orig_file`, header or not.

    Raises:
        DataError: a row that cannot be read, or none.
    """
    splits: dict[int, str] = {}
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        columns = line.split()
        if not columns or (number == 1 and not columns[0].isdecimal()):
            continue
        try:
            index, _, orig_file = columns
            splits[int(index)] = split_of(orig_file)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: '{line}', need idx orig_idx orig_file; restore it") from error
    if not splits:
        raise DataError(f"{path}: lists no image; restore it from the download")
    return splits


def list_images(raw: Path, splits: dict[int, str]) -> dict[int, Path]:
    """Return the image file of every id, in the order of ids.

    Args:
        raw: the official folder.
        splits: the ids that the mapping knows.

    Raises:
        DataError: no image, an image that the mapping does not know, or two of one id.
    """
    folder = raw / OFFICIAL_IMAGES
    images: dict[int, Path] = {}
    unknown: list[Path] = []
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if name.startswith(".") or path.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        if not path.stem.isdecimal() or int(path.stem) not in splits:
            unknown.append(path)
        elif (other := images.setdefault(int(path.stem), path)) != path:
            raise DataError(f"image {path}: has the same id as {other.name}; remove one of them")
    if unknown:
        raise DataError(
            f"image {unknown[0]}: not listed in {OFFICIAL_MAPPING}, nor are {len(unknown) - 1} other images; "
            "remove them or restore the mapping"
        )
    if not images:
        raise DataError(f"folder {folder}: holds no image such as 0.jpg; unpack CelebAMask-HQ again")
    return dict(sorted(images.items()))


def list_masks(raw: Path) -> dict[int, dict[int, Path]]:
    """Return every id's mask files by class id; files with other names are passed over."""
    masks: dict[int, dict[int, Path]] = defaultdict(dict)
    # 330,000 files: one walk, and no look-up a file.
    for folder, _, names in os.walk(raw / OFFICIAL_MASKS):
        for name in names:
            match = _MASK_NAME.fullmatch(name)
            if match and (class_id := _CLASS_IDS.get(match[2].lower())):
                masks[int(match[1])][class_id] = Path(folder, name)
    return dict(masks)


def load_image(path: Path, size: int) -> UInt8Array:
    """Read an image and bring it to (size, size, 3) uint8, RGB.

    Raises:
        DataError: a file that cannot be read, or a side below 32 pixels.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DataError(f"image {path}: {width} x {height} pixels, need at least {MIN_SIDE} x {MIN_SIDE}; replace it")
    # Averaging areas is right for shrinking, and gives blocks where an image is enlarged.
    method = cv2.INTER_AREA if min(height, width) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=method), dtype=np.uint8)


def composite(masks: dict[int, Path], size: int) -> UInt8Array:
    """Lay an image's masks over one another: ids 1..18 in order, later over earlier, wherever a mask is above 0.

    Returns:
        (size, size) uint8, class ids; 0 where no mask is set.

    Raises:
        DataError: a file that cannot be read.
    """
    label = np.zeros((size, size), dtype=np.uint8)
    for class_id, path in sorted(masks.items()):
        mask = _read_mask(path)
        if mask.shape != label.shape:
            mask = np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)
        label[mask > 0] = class_id
    return label


def _read_mask(path: Path) -> UInt8Array:
    with decoding(f"mask {path}", "unpack it again"), Image.open(path) as picture:
        return np.array(picture.convert("L"))

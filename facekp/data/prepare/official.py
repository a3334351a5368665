"""Reading the official CelebAMask-HQ folder: images, one mask file per attribute, and the splits from its mapping."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facekp.classes import CELEBAMASK_HQ
from facekp.data.layout import MIN_SIDE, OFFICIAL_IMAGES, OFFICIAL_MAPPING, OFFICIAL_MASKS
from facekp.data.prepare.summary import Problem
from facekp.errors import DataError
from facekp.files import walk
from facekp.images import UInt8Array, decoding, read_image

LAST_TRAIN, LAST_VAL = 162770, 182637
"""Number of the last CelebA file (`orig_file`) of train and of val; test follows."""

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
_MASK_NAME = re.compile(r"(\d+)_(\w+)\.png", re.IGNORECASE)
_CLASS_IDS = {name: index for index, name in enumerate(CELEBAMASK_HQ.names) if index}


def read_mapping(path: Path) -> dict[int, str]:
    """Return the split of every id in the mapping file: rows `idx orig_idx orig_file`, with or without a header.

    The number of the CelebA file `orig_file` determines the split, as in CelebA's own partition.

    Raises:
        DataError: a row is malformed, an id has two splits, or there are no rows.
    """
    splits: dict[int, str] = {}
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        columns = line.split()
        if not columns or (number == 1 and not columns[0].isdecimal()):
            continue
        try:
            name, _, orig_file = columns
            index, source = int(name), int(Path(orig_file).stem)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: '{line}', need idx orig_idx orig_file; restore it") from error
        split = "train" if source <= LAST_TRAIN else "val" if source <= LAST_VAL else "test"
        if splits.setdefault(index, split) != split:
            raise DataError(f"{path}, line {number}: idx {index} is in {splits[index]} by an earlier line; restore it")
    if not splits:
        raise DataError(f"{path}: lists no image; restore it from the download")
    return splits


def describe_official(raw: Path) -> str:
    """Return the mapping of the official folder, and the names and sizes of its images and masks."""
    files = [
        f"{path.name}/{name} {os.stat(f'{path}/{name}').st_size}"  # 360,000 files: Path.stat takes twice as long
        for folder in (OFFICIAL_IMAGES, OFFICIAL_MASKS)
        for path, _, names in walk(raw / folder)
        for name in names
        if not name.startswith(".")
    ]
    return "\n".join([(raw / OFFICIAL_MAPPING).read_text(encoding="utf-8", errors="replace"), *files])


def list_images(raw: Path, splits: dict[int, str]) -> dict[int, Path]:
    """Return the image files of the official folder by id, in the order of ids; `splits` are those of the mapping.

    Raises:
        DataError: there is no image, an image is not in the mapping, or two images share an id.
    """
    folder = raw / OFFICIAL_IMAGES
    images: dict[int, Path] = {}
    unknown: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in _IMAGE_SUFFIXES:
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


def list_masks(raw: Path) -> tuple[dict[int, dict[int, Path]], list[Problem]]:
    """Return the mask files by id and class id, and the problems of files that are ignored.

    Files with other names (`Thumbs.db`, `._00000_hair.png`) are silently ignored.
    """
    masks: dict[int, dict[int, Path]] = defaultdict(dict)
    problems: list[Problem] = []
    # 330,000 files: one walk, without a system call per file. Sorted, so that the result is the same everywhere.
    for folder, _, names in walk(raw / OFFICIAL_MASKS):
        for name in names:
            match = _MASK_NAME.fullmatch(name)
            if not match:
                continue
            path, class_id = folder / name, _CLASS_IDS.get(match[2].lower())
            if class_id is None:
                problems.append(Problem("mask of an unknown attribute", path.relative_to(raw).as_posix(), match[2]))
            elif (first := masks[int(match[1])].setdefault(class_id, path)) is not path:
                second, kept = (file.relative_to(raw).as_posix() for file in (path, first))
                problems.append(Problem("second mask of one attribute", second, f"beside {kept}"))
    return dict(masks), problems


def load_image(path: Path) -> UInt8Array:
    """Read an image as (H, W, 3) uint8 RGB.

    Raises:
        DataError: the file cannot be read, or a side is below 32 pixels.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DataError(f"image {path}: {width} x {height} pixels, need at least {MIN_SIDE} x {MIN_SIDE}; replace it")
    return image


def load_mask(path: Path) -> UInt8Array:
    """Read a mask of any mode as (H, W) uint8, above 0 where the attribute is present.

    Raises:
        DataError: the file cannot be read.
    """
    with decoding(f"mask {path}", "unpack it again"), Image.open(path) as picture:
        return np.array(picture.convert("L"))


def composite(masks: Mapping[int, UInt8Array], size: int) -> UInt8Array:
    """Merge masks (H, W) uint8 by class id, of any size; where several overlap, the highest id wins.

    Returns:
        (size, size) uint8, class ids; 0 where no mask is above 0.
    """
    label = np.zeros((size, size), dtype=np.uint8)
    for class_id, mask in sorted(masks.items()):
        if mask.shape != label.shape:
            mask = np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)
        label[mask > 0] = class_id
    return label

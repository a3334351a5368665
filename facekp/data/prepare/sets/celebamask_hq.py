"""CelebAMask-HQ: an image and one mask per class and image, and the splits from CelebA's."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from facekp.classes import CELEBAMASK_HQ
from facekp.data.layout import OFFICIAL_IMAGES, OFFICIAL_MAPPING, OFFICIAL_MASKS, recognise
from facekp.data.prepare.dataset import SETS, DataSet, visible
from facekp.data.prepare.summary import Problem
from facekp.errors import DataError
from facekp.files import walk

LAST_TRAIN, LAST_VAL = 162770, 182637  # number of the last CelebA file (`orig_file`) of train and of val; test follows

_MASK_NAME = re.compile(r"(\d+)_(\w+)\.png", re.IGNORECASE)
_CLASS_IDS = {name: index for index, name in enumerate(CELEBAMASK_HQ.names) if index}


@SETS.register("celebamask_hq")
def open_celebamask_hq(raw: Path) -> DataSet | None:
    """Return CelebAMask-HQ in a folder, if it is there."""
    mapping = raw / OFFICIAL_MAPPING
    if not any((raw / name).exists() for name in (OFFICIAL_IMAGES, OFFICIAL_MASKS, OFFICIAL_MAPPING)):
        return None
    if recognise(raw, setting="raw") == "prepared":  # it names what is missing of the official layout
        return None
    splits = read_mapping(mapping)
    images = list_images(raw, splits)
    return DataSet(
        raw,
        CELEBAMASK_HQ,
        splits,
        images,
        partial(list_masks, raw, images, splits),
        digest=hashlib.sha256(mapping.read_bytes()).hexdigest(),
        mask_of="a mask {}_*.png",
        masks_of=f"{OFFICIAL_MASKS}/*/*_{{}}.png",
    )


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
    for path in visible(folder):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
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


def list_masks(
    raw: Path, images: Mapping[int, Path], splits: Mapping[int, str]
) -> tuple[dict[int, dict[int, Path]], list[Problem]]:
    """Return the mask files by id and class id, and the problems of what is ignored or missing.

    Files with other names (`Thumbs.db`, `._00000_hair.png`) are silently ignored.
    """
    masks: dict[int, dict[int, Path]] = defaultdict(dict)
    problems: list[Problem] = []
    # 330,000 files: one walk, without a system call per file. Sorted, so that the result is the same everywhere.
    for folder, _, names in walk(raw / OFFICIAL_MASKS):
        for name in names:
            if not (match := _MASK_NAME.fullmatch(name)):
                continue
            path, class_id = folder / name, _CLASS_IDS.get(match[2].lower())
            if class_id is None:
                problems.append(Problem.of("mask of an unknown attribute", raw, path, match[2]))
            elif (first := masks[int(match[1])].setdefault(class_id, path)) is not path:
                beside = f"beside {first.relative_to(raw).as_posix()}"
                problems.append(Problem.of("second mask of one attribute", raw, path, beside))
    gone = (f"{OFFICIAL_IMAGES}/{i}.jpg" for i in splits if i not in images)
    problems += [Problem("listed image that is not there", file) for file in gone]
    without = (f"{OFFICIAL_MASKS}/*/{i:05d}_*.png" for i in masks if i not in images)
    problems += [Problem("mask without an image", file) for file in without]
    return dict(masks), problems

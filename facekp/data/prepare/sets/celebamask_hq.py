"""CelebAMask-HQ: an image and one mask per class and image, and the splits from CelebA's."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from facekp.classes import CELEBAMASK_HQ
from facekp.data.layout import OFFICIAL_IMAGES, OFFICIAL_MAPPING, OFFICIAL_MASKS, recognise
from facekp.data.prepare.convert import Face
from facekp.data.prepare.dataset import SETS, DataSet
from facekp.data.prepare.official import list_images, list_masks, read_mapping
from facekp.data.prepare.summary import Problem
from facekp.errors import DataError


@SETS.register("celebamask_hq")
def open_celebamask_hq(raw: Path) -> DataSet | None:
    """Return CelebAMask-HQ in a folder, if it is there."""
    if not any((raw / name).exists() for name in (OFFICIAL_IMAGES, OFFICIAL_MASKS, OFFICIAL_MAPPING)):
        return None
    if recognise(raw, setting="raw") == "prepared":  # it names what is missing of the official layout
        return None
    splits = read_mapping(raw / OFFICIAL_MAPPING)
    images = list_images(raw, splits)
    digest = hashlib.sha256((raw / OFFICIAL_MAPPING).read_bytes()).hexdigest()
    masks_of = f"{OFFICIAL_MASKS}/*/*_{{}}.png"
    return DataSet(CELEBAMASK_HQ, splits, images, partial(_pair, raw, images, splits), digest, masks_of)


def _pair(
    raw: Path, images: Mapping[int, Path], splits: Mapping[int, str], skip_bad: bool
) -> tuple[list[Face], list[Problem]]:
    """Match images and masks; return the faces that have both, and the problems of the rest.

    Raises:
        DataError: images without masks that may not be skipped, or no face at all.
    """
    masks, problems = list_masks(raw)
    bare = [path for index, path in images.items() if index not in masks]
    if bare and (not skip_bad or len(bare) == len(images)):
        # Raised now, not after an hour: most often an archive of masks was not unpacked.
        raise DataError(
            f"image {bare[0]}: image without label (no mask file {int(bare[0].stem):05d}_*.png), as {len(bare)} of "
            f"{len(images)} images are; unpack the masks again, remove the images, or skip them with skip_bad=true"
        )
    problems += [Problem("image without any mask", path.relative_to(raw).as_posix()) for path in bare]
    problems += [
        Problem("listed image that is not there", f"{OFFICIAL_IMAGES}/{i}.jpg") for i in splits if i not in images
    ]
    problems += [
        Problem("mask without an image", f"{OFFICIAL_MASKS}/*/{i:05d}_*.png") for i in masks if i not in images
    ]
    return [Face(raw, i, path, masks[i]) for i, path in images.items() if i in masks], problems

"""Layouts of a data set on disk: the prepared one with its index, and the official one.

Prepared: `images/{id}.jpg`, `labels/{id}.png`, `index.csv` with the columns `id,split`; `classes.json` if the
classes are not CelebAMask-HQ's.
Official: `CelebA-HQ-img/`, `CelebAMask-HQ-mask-anno/`, `CelebA-HQ-to-CelebA-mapping.txt`.
"""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Literal

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.config import FacesConfig
from facekp.data.class_sets import read_classes
from facekp.errors import ConfigError, DataError
from facekp.files import expand

SPLITS = ("train", "val", "test")
MIN_SIDE = 32  # smallest side of an image, pixels: the stride of the networks' coarsest features
INDEX = "index.csv"
IMAGES, LABELS = "images", "labels"
OFFICIAL_IMAGES = "CelebA-HQ-img"
OFFICIAL_MASKS = "CelebAMask-HQ-mask-anno"
OFFICIAL_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"

HOW_TO_GET = "download CelebAMask-HQ (https://github.com/switchablenorms/CelebAMask-HQ) and give its folder"
OTHERWISE = {
    "data.root": "use data.source=synthetic, which draws faces",
    "root": "draw faces with `facekp synthetic`",
    "raw": "a folder of images/ and masks/ with a classes.json",
}
"""What else will do, by the setting that names the folder."""


@dataclass(frozen=True)
class Sample:
    """One labelled image of a prepared data set."""

    id: str
    split: str
    image: Path
    label: Path
    classes: Classes = field(default=CELEBAMASK_HQ, repr=False)


def recognise(root: str | Path, setting: str = "data.root") -> Literal["official", "prepared"]:
    """Return the layout of `root`; messages call it `setting`.

    Raises:
        DataError: the folder is missing or has neither layout.
    """
    root = Path(root)
    remedy = f"{HOW_TO_GET}, or {OTHERWISE[setting]}"
    if not root.is_dir():
        raise DataError(f"{setting} is '{root}', which is not a folder: {remedy}")
    if (root / INDEX).is_file():
        return "prepared"
    missing = [name for name in (OFFICIAL_IMAGES, OFFICIAL_MASKS, OFFICIAL_MAPPING) if not (root / name).exists()]
    if not missing:
        return "official"
    if len(missing) < 3:
        raise DataError(f"{setting} is '{root}', a CelebAMask-HQ folder without {' and '.join(missing)}: add them")
    raise DataError(
        f"{setting} is '{root}', which holds neither {INDEX} (prepared layout) nor {OFFICIAL_IMAGES}/ (official one): "
        f"{remedy}"
    )


def check_source(config: FacesConfig) -> Path | None:
    """Return the data set's folder, which exists and has a known layout, within milliseconds; None for drawn faces.

    Raises:
        ConfigError: `data.root` is not set.
        DataError: the folder is missing or has neither layout.
    """
    if config.source == "synthetic":
        return None
    if config.root is None:
        raise ConfigError(
            f"data.root is not set, nor the environment variable FACEKP_DATA: {HOW_TO_GET}, or {OTHERWISE['data.root']}"
        )
    root = expand(config.root)
    recognise(root)
    return root


def source_classes(config: FacesConfig) -> Classes:
    """Return the classes of the data set's labels, without preparing it.

    Raises:
        ConfigError: `data.root` is not set.
        DataError: the folder is missing or has no known layout, or its `classes.json` is unusable.
    """
    root = check_source(config)
    return read_classes(root) if root else CELEBAMASK_HQ


def require_classes(config: FacesConfig, classes: Classes, weights: str) -> None:
    """Check that weights predict the classes of a data set's labels.

    Raises:
        ConfigError: they do not; see also `source_classes`.
    """
    own = source_classes(config)
    if own.names != classes.names:
        labels, found = (", ".join(names) for names in (own.names, classes.names))
        raise ConfigError(
            f"ckpt is '{weights}', which predicts {found}, but the data set's labels are {labels}: give weights of "
            f"these classes (facekp train init={weights}), or prepare the data with classes="
        )


def list_samples(root: str | Path) -> list[Sample]:
    """List the samples of a prepared data set in the order of `index.csv`, without checking that their files exist.

    Raises:
        DataError: the index is malformed or empty, or lists an id twice.
    """
    root = Path(root)
    path, samples, classes = root / INDEX, [], read_classes(root)
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel adds a byte order mark
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8; save it as UTF-8, with the columns id and split") from None
    rows = csv.DictReader(StringIO(text, newline=""))
    if not {"id", "split"} <= set(rows.fieldnames or ()):
        raise DataError(f"{path}: columns {rows.fieldnames}, need id and split")
    for row in rows:
        name, split = row["id"], row["split"]
        if split not in SPLITS:
            raise DataError(f"{path}: split '{split}' of id {name}, need one of {', '.join(SPLITS)}")
        samples.append(Sample(name, split, root / IMAGES / f"{name}.jpg", root / LABELS / f"{name}.png", classes))
    if not samples:
        raise DataError(f"{path}: lists no image; prepare the data set again")
    twice = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if twice:  # perhaps in two splits
        raise DataError(f"{path}: lists id {twice[0]} twice (duplicate ids: {len(twice)}); keep one row of each")
    return samples


def read_index(root: str | Path, exclude: frozenset[str] = frozenset()) -> dict[str, list[Sample]]:
    """List a prepared data set's samples by split, in the order of `index.csv`.

    `exclude` holds ids of training images to exclude, whose files need not exist; other splits are never reduced.

    Raises:
        DataError: the index is malformed or empty, a listed image or label is missing, or an excluded id is not listed.
    """
    root = Path(root)
    listed, samples = list_samples(root), dict[str, list[Sample]]((split, []) for split in SPLITS)
    unknown = exclude - {sample.id for sample in listed}
    if unknown:
        raise DataError(
            f"data.exclude lists id '{min(unknown)}', which {root / INDEX} does not ({len(unknown)} such ids): "
            "give the audit.csv of this data set"
        )
    # One listing per folder instead of two look-ups per sample: 30,000 samples take a tenth of a second.
    images, labels = ({path.name for path in (root / name).glob("*")} for name in (IMAGES, LABELS))
    for sample in listed:
        if sample.split == "train" and sample.id in exclude:
            continue
        if sample.image.name not in images:
            raise DataError(f"image {sample.image}: listed in {INDEX} but missing; restore it or remove its row")
        if sample.label.name not in labels:
            raise DataError(f"label {sample.label}: image {sample.id} has no label; restore it or remove its row")
        samples[sample.split].append(sample)
    return samples


def fingerprint(samples: Sequence[Sample]) -> str:
    """Return 16 hexadecimal digits that change when a sample is added, removed, moved or rewritten.

    Raises:
        DataError: a file is missing.
    """
    digest, resolved = hashlib.sha256(), cache(os.path.realpath)
    for sample in samples:
        for path in (sample.image, sample.label):
            try:
                state = path.stat()
            except OSError as error:
                raise DataError(f"'{path}': listed in {INDEX} but missing; restore it or remove its row") from error
            digest.update(f"{resolved(path.parent)}/{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]

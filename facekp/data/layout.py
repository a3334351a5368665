"""Layouts of a data set on disk: the prepared one, its index, and recognition of the official one.

Prepared: `images/{id}.jpg`, `labels/{id}.png`, `index.csv` with the columns `id,split`.
Official: `CelebA-HQ-img/`, `CelebAMask-HQ-mask-anno/`, `CelebA-HQ-to-CelebA-mapping.txt`.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal, NamedTuple

from facekp.config import DataConfig
from facekp.errors import ConfigError, DataError
from facekp.files import expand

SPLITS = ("train", "val", "test")
Layout = Literal["official", "prepared"]

MIN_SIDE = 32
"""Smallest side of an image, pixels: the stride of the networks' coarsest features."""
INDEX = "index.csv"
IMAGES, LABELS = "images", "labels"
OFFICIAL_IMAGES = "CelebA-HQ-img"
OFFICIAL_MASKS = "CelebAMask-HQ-mask-anno"
OFFICIAL_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"

HOW_TO_GET = (
    "download CelebAMask-HQ (https://github.com/switchablenorms/CelebAMask-HQ) and give its folder, "
    "or take data=synthetic, which needs nothing"
)


@dataclass(frozen=True)
class Sample:
    """One labelled image of a prepared data set."""

    id: str
    image: Path
    label: Path


class Entry(NamedTuple):
    """A row of the index: its number from 0, its split and its sample."""

    row: int
    split: str
    sample: Sample


def recognise(root: str | Path, setting: str = "data.root") -> Layout:
    """Return the layout of `root`; messages call it `setting`.

    Raises:
        DataError: the folder is missing or has neither layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{setting} is '{root}', which is not a folder: {HOW_TO_GET}")
    if (root / INDEX).is_file():
        return "prepared"
    official = [OFFICIAL_IMAGES, OFFICIAL_MASKS, OFFICIAL_MAPPING]
    missing = [name for name in official if not (root / name).exists()]
    if not missing:
        return "official"
    if len(missing) < len(official):
        raise DataError(f"{setting} is '{root}', a CelebAMask-HQ folder without {' and '.join(missing)}: add them")
    raise DataError(
        f"{setting} is '{root}', which holds neither {INDEX} (prepared layout) nor {OFFICIAL_IMAGES}/ (official one): "
        f"{HOW_TO_GET}"
    )


def check_source(config: DataConfig) -> None:
    """Raise within milliseconds if the data set cannot be there.

    Raises:
        ConfigError: no `data.root`.
        DataError: a folder that is missing or in neither layout.
    """
    if config.source == "synthetic":
        return
    if config.root is None:
        raise ConfigError(f"data.root is not set, nor the environment variable FACEKP_DATA: {HOW_TO_GET}")
    recognise(expand(config.root))


def list_entries(root: str | Path) -> list[Entry]:
    """List the rows of a prepared data set's `index.csv` without checking that their files exist.

    Raises:
        DataError: the index is malformed or empty, or lists an id twice.
    """
    root = Path(root)
    entries = []
    try:
        text = (root / INDEX).read_text(encoding="utf-8-sig")  # Excel adds a byte order mark
    except UnicodeDecodeError:
        raise DataError(f"{root / INDEX}: not UTF-8; save it so, with the columns id and split") from None
    with StringIO(text, newline="") as file:
        rows = csv.DictReader(file)
        if not {"id", "split"} <= set(rows.fieldnames or ()):
            raise DataError(f"{root / INDEX}: columns {rows.fieldnames}, need id and split")
        for number, row in enumerate(rows):
            name, split = row["id"], row["split"]
            if split not in SPLITS:
                raise DataError(f"{root / INDEX}: split '{split}' of id {name}, need one of {', '.join(SPLITS)}")
            sample = Sample(name, root / IMAGES / f"{name}.jpg", root / LABELS / f"{name}.png")
            entries.append(Entry(number, split, sample))
    if not entries:
        raise DataError(f"{root / INDEX}: lists no image; prepare the data set again")
    twice = [name for name, count in Counter(entry.sample.id for entry in entries).items() if count > 1]
    if twice:  # perhaps in two splits
        raise DataError(f"{root / INDEX}: lists id {twice[0]} twice, as {len(twice)} ids in all; leave one row of each")
    return entries


def read_index(root: str | Path, exclude: frozenset[str] = frozenset()) -> dict[str, list[Sample]]:
    """List a prepared data set's samples by split, in the order of `index.csv`.

    Args:
        root: the folder.
        exclude: ids of training images to exclude, whose files need not exist; other splits are never reduced.

    Raises:
        DataError: the index is malformed or empty, a listed image or label is missing, or an excluded id is not listed.
    """
    root = Path(root)
    samples: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    # One listing per folder instead of two look-ups per sample: 30,000 samples take a tenth of a second.
    images = _stems(root / IMAGES, ".jpg")
    labels = _stems(root / LABELS, ".png")
    entries = list_entries(root)
    unknown = exclude - {entry.sample.id for entry in entries}
    if unknown:
        raise DataError(
            f"data.exclude lists id '{min(unknown)}', which {root / INDEX} does not ({len(unknown)} such ids): "
            "give the audit.csv of this data set"
        )
    for _, split, sample in entries:
        if split == "train" and sample.id in exclude:
            continue
        if sample.id not in images:
            raise DataError(f"image {sample.image}: listed in {INDEX} but missing; restore it or remove its row")
        if sample.id not in labels:
            raise DataError(f"label {sample.label}: image {sample.id} has no label; restore it or remove its row")
        samples[split].append(sample)
    return samples


def fingerprint(samples: Sequence[Sample]) -> str:
    """Return 16 hexadecimal digits that change when a sample is added, removed, moved or rewritten.

    Raises:
        DataError: a file is missing.
    """
    digest = hashlib.sha256()
    for sample in samples:
        for path in (sample.image, sample.label):
            try:
                state = path.stat()
            except OSError as error:
                raise DataError(f"'{path}': listed in {INDEX} but missing; restore it or remove its row") from error
            digest.update(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _stems(folder: Path, suffix: str) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix == suffix} if folder.is_dir() else set()

"""Findings of an audit, and their table audit.csv."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

from facekp.data.exclusions import COLUMN
from facekp.files import replacing


class Kind(NamedTuple):
    """A kind of finding: its title, and whether training excludes such images by default."""

    title: str
    excludes: bool


KINDS: Final[dict[str, Kind]] = {
    "unreadable": Kind("image or label that cannot be read", True),
    "mismatch": Kind("image and label of different proportions", True),
    "empty": Kind("label without a face", True),
    "reversed": Kind("left and right reversed", True),
    "partly_reversed": Kind("left and right reversed in a part of the face", True),
    "duplicate": Kind("the same image twice", True),
    "near_duplicate": Kind("the same photo twice, processed or framed differently", True),
    "same_label": Kind("different images with the same label", True),
    "missing": Kind("a part of the face without its label", False),
    "tiny": Kind("a class of a few stray pixels", False),
}
"""Kinds by name, the most severe first."""


class Flaw(NamedTuple):
    """A flaw of one image: a key of `KINDS`, a description, and a score in 0..1."""

    kind: str
    detail: str
    score: float = 1.0


@dataclass(frozen=True)
class Finding:
    """One row of audit.csv.

    Attributes:
        id: the image.
        split: its split.
        kind: a key of `KINDS`.
        detail: description.
        score: 0..1: similarity of duplicates, or the share of parts on the wrong side.
        other_id: the image that it duplicates, or "".
        other_split: the split of that image, or "".
    """

    id: str
    split: str
    kind: str
    detail: str
    score: float = 1.0
    other_id: str = ""
    other_split: str = ""

    @property
    def excluded(self) -> bool:
        """Whether training excludes the image; validation and test images are never excluded."""
        return self.split == "train" and KINDS[self.kind].excludes

    @property
    def crosses(self) -> bool:
        """Whether similar images are in different splits, so that a score is measured on training data."""
        return self.other_split not in ("", self.split)


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write one row per finding: the fields of `Finding`, and `exclude` (yes or no).

    Raises:
        DataError: the file cannot be written.
    """
    columns = ["id", "split", "kind", COLUMN, "detail", "score", "other_id", "other_split"]
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, columns, lineterminator="\n")
        rows.writeheader()
        for found in findings:
            rows.writerow({**asdict(found), "score": f"{found.score:.3f}", COLUMN: "yes" if found.excluded else "no"})

"""What an audit of a data set finds, and the table of it, audit.csv, that training can leave images out by."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, NamedTuple

from facekp.data.exclusions import COLUMN
from facekp.files import replacing


class Kind(NamedTuple):
    """A kind of finding: its title, and whether training leaves such images out unless the user says otherwise."""

    title: str
    excludes: bool


KINDS: Final[dict[str, Kind]] = {
    "unreadable": Kind("image or label that cannot be read", True),
    "mismatch": Kind("image and label do not cover the same frame", True),
    "empty": Kind("label without a face", True),
    "reversed": Kind("left and right reversed", True),
    "partly_reversed": Kind("left and right reversed in a part of the face", True),
    "duplicate": Kind("the same image twice", True),
    "near_duplicate": Kind("the same photo twice, processed or framed otherwise", True),
    "same_label": Kind("different images with the same label", True),
    "missing": Kind("a part of the face without its label", False),
    "tiny": Kind("a class of a few stray pixels", False),
}
"""Kinds by name, the gravest first."""


@dataclass(frozen=True)
class Finding:
    """One row of audit.csv.

    Attributes:
        id: the image.
        split: its split.
        kind: a key of `KINDS`.
        detail: what was found, in words.
        score: 0..1; of duplicates how alike they are, of reversed labels the share of parts on the wrong side.
        other_id: the image that it is a duplicate of, or "".
        other_split: that one's split, or "".
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
        """Whether training leaves the image out; validation and test images are never left out."""
        return self.split == "train" and KINDS[self.kind].excludes

    @property
    def crosses(self) -> bool:
        """Whether two images of different splits are alike, so that a score is measured on what was trained on."""
        return self.other_split not in ("", self.split)


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write a table with a row a finding: the fields of `Finding`, and `exclude` (yes or no).

    Raises:
        DataError: the file cannot be written.
    """
    names = [field.name for field in fields(Finding)]
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, ["id", "split", "kind", COLUMN, *names[3:]], lineterminator="\n")
        rows.writeheader()
        for found in findings:
            rows.writerow({**asdict(found), "score": f"{found.score:.3f}", COLUMN: "yes" if found.excluded else "no"})

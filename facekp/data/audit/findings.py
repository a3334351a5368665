"""Flaws of single images, and the findings of an audit: the rows of audit.csv."""

import csv
from pathlib import Path
from typing import Final, NamedTuple

from facekp.data.layout import Sample


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
    """A flaw of one image: a key of `KINDS`, a description, and a score in 0..1.

    The score is the similarity of duplicates, or the share of parts on the wrong side.
    """

    kind: str
    detail: str
    score: float = 1.0


class Finding(NamedTuple):
    """One row of audit.csv; its fields are the columns.

    `other_id` is the image that this one duplicates, or "". `exclude` is yes or no; it is always no for validation and
    test images.
    """

    id: str
    split: str
    kind: str
    exclude: str
    detail: str
    score: float
    other_id: str
    other_split: str

    @classmethod
    def of(cls, sample: Sample, flaw: Flaw, other: Sample | None = None) -> "Finding":
        """Return the finding of a flaw."""
        exclude = default_exclude(sample.split, flaw.kind)
        pair = (other.id, other.split) if other else ("", "")
        return cls(sample.id, sample.split, flaw.kind, exclude, flaw.detail, flaw.score, *pair)

    @property
    def crosses(self) -> bool:
        """Whether the two images are in different splits, so that scores are measured on training data."""
        return self.other_split not in ("", self.split)


def default_exclude(split: str, kind: str) -> str:
    """Return yes or no: whether training excludes an image of a split with a flaw of a kind by default."""
    return "yes" if split == "train" and KINDS[kind].excludes else "no"


def is_unedited(path: Path) -> bool:
    """Return whether a file is an audit.csv whose exclude column nobody has changed."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        same = all(row["exclude"] == default_exclude(row["split"], row["kind"]) for row in rows)
        return rows.fieldnames == list(Finding._fields) and same

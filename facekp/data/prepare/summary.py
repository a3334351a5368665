"""Problems of an official folder, and the summary of its preparation, on the screen and as summary.json."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES
from facekp.data.layout import SPLITS
from facekp.files import replacing

SUMMARY = "summary.json"
MAX_NAMED = 3
"""Files of a kind that are named on the screen; summary.json names all."""


class Kind(StrEnum):
    """A kind of problem, as the summary names it."""

    NOT_THERE = "listed image that is not there"
    NO_MASK = "image without any mask"
    BAD_IMAGE = "image that cannot be used"
    BAD_MASK = "mask that cannot be read"
    MISSING = "face without a skin or nose mask"
    EMPTY = "mask without a pixel"
    SIZE = "mask of another size than the face's other masks"
    SHAPE = "image or mask that is not square"
    UNKNOWN = "mask of an unknown attribute"
    SECOND = "second mask of one attribute"
    NO_IMAGE = "mask without an image"


CONSEQUENCES = {
    Kind.NOT_THERE: "not prepared",
    Kind.NO_MASK: "skipped",
    Kind.BAD_IMAGE: "skipped",
    Kind.BAD_MASK: "its image is skipped",
    Kind.MISSING: "prepared without that class",
    Kind.EMPTY: "changes nothing",
    Kind.SIZE: "resized like the others",
    Kind.SHAPE: "stretched to a square",
    Kind.UNKNOWN: "ignored",
    Kind.SECOND: "ignored; the first path in order counts",
    Kind.NO_IMAGE: "ignored",
}
"""What preparation does about each kind."""

SKIPPED = frozenset({Kind.NO_MASK, Kind.BAD_IMAGE, Kind.BAD_MASK})
"""Kinds that keep an image from being prepared."""


@dataclass(frozen=True, order=True)
class Problem:
    """One file's problem.

    Attributes:
        kind: what is wrong.
        file: the file in the official folder, or the name that the mapping lists.
        detail: what was found, if the kind does not say it.
    """

    kind: Kind
    file: str
    detail: str = ""


def name_few(problems: list[Problem]) -> str:
    """Name the first few files with what was found in each."""
    names = [f"{p.file}: {p.detail}" if p.detail else p.file for p in problems[:MAX_NAMED]]
    more = len(problems) - len(names)
    return "; ".join(names) + (f"; and {more} more" if more else "")


@dataclass(frozen=True)
class ClassShare:
    """How common a class is.

    Attributes:
        pixels: share of all pixels, 0..1.
        images: share of the images that have it, 0..1.
    """

    pixels: float
    images: float


@dataclass(frozen=True)
class DataSummary:
    """The contents of a prepared folder.

    Attributes:
        splits: number of images by split.
        classes: share of each class by name; empty if there is no image.
        skipped: ids of the images that could not be prepared.
        problems: problems of the official folder, including those images'.
    """

    splits: dict[str, int]
    classes: dict[str, ClassShare]
    skipped: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def text(self) -> str:
        """A table of the classes, and a line for each kind of problem."""
        rows = [f"{name:<10} {share.pixels:>8.3%} {share.images:>8.2%}" for name, share in self.classes.items()]
        problems = [
            f"problem: {len(found)} x {kind} ({CONSEQUENCES[kind]}): {name_few(found)}"
            for kind, found in self._by_kind()
        ]
        return "\n".join(["class        pixels   images", *rows, *(problems or ["problems: none"])])

    def write(self, folder: Path) -> None:
        """Write `summary.json` into `folder`; equal summaries give equal files.

        Raises:
            DataError: it cannot be written.
        """
        content = {
            "splits": self.splits,
            "classes": {name: vars(share) for name, share in self.classes.items()},
            "skipped": self.skipped,
            "problems": [
                {
                    "kind": kind,
                    "what_happens": CONSEQUENCES[kind],
                    "count": len(found),
                    "files": [{"file": p.file, "detail": p.detail} for p in found],
                }
                for kind, found in self._by_kind()
            ],
        }
        with replacing(folder / SUMMARY) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "DataSummary | None":
        """Return the summary of a prepared folder, or None if it has none that can be read."""
        try:
            content: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            return cls(
                content["splits"],
                {name: ClassShare(**share) for name, share in content["classes"].items()},
                tuple(content["skipped"] if "skipped" in content else content["left_out"]),  # its name before 0.2
                tuple(Problem(Kind(g["kind"]), **row) for g in content["problems"] for row in g["files"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _by_kind(self) -> Iterator[tuple[Kind, list[Problem]]]:
        for kind in Kind:
            if found := [problem for problem in self.problems if problem.kind == kind]:
                yield kind, found


def summarise(
    splits: Iterable[str], pixels: npt.NDArray[np.int64], skipped: Iterable[int], problems: Iterable[Problem]
) -> DataSummary:
    """Summarise a preparation.

    Args:
        splits: the split of each prepared image.
        pixels: (images, 19), pixels of each class in each image.
        skipped: ids of the images that could not be prepared.
        problems: in any order.
    """
    sizes = Counter(splits)
    share, having = pixels.sum(axis=0) / max(1, pixels.sum()), (pixels > 0).sum(axis=0) / max(1, len(pixels))
    classes = {name: ClassShare(float(share[i]), float(having[i])) for i, name in enumerate(ATTRIBUTES)}
    counts = {split: sizes[split] for split in SPLITS}
    return DataSummary(counts, classes if len(pixels) else {}, tuple(sorted(skipped)), tuple(sorted(problems)))

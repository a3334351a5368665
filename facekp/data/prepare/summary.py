"""Problems of an official folder, and the summary of its preparation, printed and saved as summary.json."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES
from facekp.data.layout import SPLITS
from facekp.files import replacing

SUMMARY = "summary.json"
MAX_NAMED = 3
"""Maximum number of files of a kind that are printed; summary.json lists all."""


class Kind(StrEnum):
    """A kind of problem, as the summary names it, and what preparation does about it."""

    consequence: str

    NOT_THERE = "listed image that is not there", "not prepared"
    NO_MASK = "image without any mask", "skipped"
    BAD_IMAGE = "image that cannot be used", "skipped"
    BAD_MASK = "mask that cannot be read", "its image is skipped"
    MISSING = "face without a skin or nose mask", "prepared without that class"
    EMPTY = "mask without a pixel", "changes nothing"
    SIZE = "mask of another size than the face's other masks", "resized like the others"
    SHAPE = "image or mask that is not square", "stretched to a square"
    UNKNOWN = "mask of an unknown attribute", "ignored"
    SECOND = "second mask of one attribute", "ignored; the first path in order counts"
    NO_IMAGE = "mask without an image", "ignored"

    def __new__(cls, name: str, consequence: str = "") -> "Kind":
        """Create a kind from its name and its consequence."""
        kind = str.__new__(cls, name)
        kind._value_, kind.consequence = name, consequence
        return kind


SKIPPED = frozenset({Kind.NO_MASK, Kind.BAD_IMAGE, Kind.BAD_MASK})
"""Kinds that keep an image from being prepared."""


@dataclass(frozen=True, order=True)
class Problem:
    """One file's problem.

    `file` is a path in the official folder, or a name that the mapping lists; `detail` is what was found, if the kind
    does not say it.
    """

    kind: Kind
    file: str
    detail: str = ""


def name_few(problems: list[Problem]) -> str:
    """List the first few files, each with what was found in it."""
    names = [f"{p.file}: {p.detail}" if p.detail else p.file for p in problems[:MAX_NAMED]]
    more = len(problems) - len(names)
    return "; ".join(names) + (f"; and {more} more" if more else "")


@dataclass(frozen=True)
class DataSummary:
    """The contents of a prepared folder.

    Attributes:
        splits: number of images by split.
        classes: by name, the share of all pixels (`pixels`) and of the images (`images`) that have the class, 0..1;
            empty if there is no image.
        skipped: ids of the images that could not be prepared.
        problems: problems of the official folder, including those images'.
    """

    splits: dict[str, int]
    classes: dict[str, dict[str, float]]
    skipped: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def by_kind(self) -> dict[Kind, list[Problem]]:
        """Problems by kind, without kinds that have none."""
        found = {kind: [problem for problem in self.problems if problem.kind == kind] for kind in Kind}
        return {kind: problems for kind, problems in found.items() if problems}

    @property
    def text(self) -> str:
        """A table of the classes, and a line for each kind of problem."""
        rows = [f"{name:<10} {share['pixels']:>8.3%} {share['images']:>8.2%}" for name, share in self.classes.items()]
        lines = [
            f"problem: {len(found)} x {kind} ({kind.consequence}): {name_few(found)}"
            for kind, found in self.by_kind.items()
        ]
        return "\n".join(["class        pixels   images", *rows, *(lines or ["problems: none"])])

    def write(self, folder: Path) -> None:
        """Write `summary.json` into `folder`; equal summaries give equal files.

        Raises:
            DataError: it cannot be written.
        """
        problems = []
        for kind, found in self.by_kind.items():
            files = [{"file": p.file, "detail": p.detail} for p in found]
            problems.append({"kind": kind, "what_happens": kind.consequence, "count": len(files), "files": files})
        content = {"splits": self.splits, "classes": self.classes, "skipped": self.skipped, "problems": problems}
        with replacing(folder / SUMMARY) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "DataSummary | None":
        """Return the summary of a prepared folder, or None if it has no readable one."""
        try:
            content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            skipped = tuple(content["skipped"] if "skipped" in content else content["left_out"])  # its name before 0.2
            problems = tuple(Problem(Kind(g["kind"]), **row) for g in content["problems"] for row in g["files"])
            return cls(content["splits"], content["classes"], skipped, problems)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def summarise(
    splits: Iterable[str], pixels: npt.NDArray[np.int64], skipped: Iterable[int], problems: Iterable[Problem]
) -> DataSummary:
    """Summarise a preparation: the split of each prepared image, its pixels of each class (N, 19), and what failed."""
    sizes = Counter(splits)
    shares = zip(
        ATTRIBUTES, pixels.sum(0) / max(1, pixels.sum()), (pixels > 0).sum(0) / max(1, len(pixels)), strict=True
    )
    classes = {name: {"pixels": float(share), "images": float(having)} for name, share, having in shares}
    counts = {split: sizes[split] for split in SPLITS}
    return DataSummary(counts, classes if len(pixels) else {}, tuple(sorted(skipped)), tuple(sorted(problems)))

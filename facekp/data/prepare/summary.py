"""Problems of an official folder, and the summary of its preparation, printed and saved as summary.json."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from facekp.files import write_file

SUMMARY = "summary.json"
MAX_NAMED = 3
"""Maximum number of files of a kind that are printed; summary.json lists all."""

CONSEQUENCES: Final = {
    "listed image that is not there": "not prepared",
    "image without any mask": "skipped",
    "image that cannot be used": "skipped",
    "mask that cannot be read": "its image is skipped",
    "face without a skin or nose mask": "prepared without that class",
    "mask without a pixel": "changes nothing",
    "mask of another size than the face's other masks": "resized like the others",
    "image or mask that is not square": "stretched to a square",
    "mask of an unknown attribute": "ignored",
    "second mask of one attribute": "ignored; the first path in order counts",
    "class that no image has": "networks will not learn it",
    "mask without an image": "ignored",
    "second mask of one image": "ignored; the first path in order counts",
    "file of a kind that is not read": "ignored; convert it to .png",
    "image that no split lists": "left out",
}
"""What preparation does about each kind of problem."""


class Problem(NamedTuple):
    """One file's problem.

    `kind` is a key of `CONSEQUENCES`, `file` a path in the official folder, or a name that the mapping lists; `detail`
    is what was found, if the kind does not say it.
    """

    kind: str
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
        problems: problems of the official folder, including those images', by kind in the order of `CONSEQUENCES`.
    """

    splits: dict[str, int]
    classes: dict[str, dict[str, float]]
    skipped: list[int | str]
    problems: dict[str, list[Problem]]

    @property
    def text(self) -> str:
        """A table of the classes, and a line for each kind of problem."""
        rows = [f"{name:<10} {share['pixels']:>8.3%} {share['images']:>8.2%}" for name, share in self.classes.items()]
        lines = [
            f"problem: {len(found)} x {kind} ({CONSEQUENCES[kind]}): {name_few(found)}"
            for kind, found in self.problems.items()
        ]
        return "\n".join(["class        pixels   images", *rows, *(lines or ["problems: none"])])

    def write(self, folder: Path) -> None:
        """Write `summary.json` into `folder`; equal summaries give equal files.

        Raises:
            DataError: it cannot be written.
        """
        problems = []
        for kind, found in self.problems.items():
            files = [{"file": p.file, "detail": p.detail} for p in found]
            problems.append({"kind": kind, "what_happens": CONSEQUENCES[kind], "count": len(files), "files": files})
        write_file(folder / SUMMARY, json.dumps(vars(self) | {"problems": problems}, indent=1) + "\n")


def read_summary(folder: Path) -> DataSummary | None:
    """Return the summary of a prepared folder, or None if it has no readable one."""
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        problems = {g["kind"]: [Problem(g["kind"], **row) for row in g["files"]] for g in content["problems"]}
        return DataSummary(content["splits"], content["classes"], content["skipped"], problems)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def summarise(
    splits: dict[str, int],
    pixels: npt.NDArray[np.int64],
    skipped: Iterable[int | str],
    problems: Iterable[Problem],
    names: Sequence[str],
) -> DataSummary:
    """Summarise a preparation: the images of each split, each image's pixels of each class (N, C), and what failed."""
    found = sorted(problems)
    shares = zip(
        names,
        pixels.sum(0) / max(1, pixels.sum()),
        (pixels > 0).sum(0) / max(1, len(pixels)),
        strict=True,
    )
    classes = {name: {"pixels": float(share), "images": float(having)} for name, share, having in shares}
    by_kind = {kind: own for kind in CONSEQUENCES if (own := [p for p in found if p.kind == kind])}
    return DataSummary(splits, classes if len(pixels) else {}, sorted(skipped), by_kind)

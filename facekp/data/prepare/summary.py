"""Problems of a data set, and the summary of its preparation, printed and saved as summary.json."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

SUMMARY = "summary.json"
MAX_NAMED = 3  # maximum number of files of a kind that are printed; summary.json lists all

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

    `kind` is a key of `CONSEQUENCES`, `file` a path in the data set's folder, or a name that its lists have; `detail`
    is what was found, if the kind does not say it.
    """

    kind: str
    file: str
    detail: str = ""

    @classmethod
    def of(cls, kind: str, raw: Path, path: Path, detail: str = "") -> "Problem":
        """Return the problem of a file in the folder `raw`."""
        return cls(kind, path.relative_to(raw).as_posix(), detail)


def name_few(files: Sequence[Mapping[str, str]]) -> str:
    """List the first few files, each with what was found in it; they are as in `DataSummary.problems`."""
    names = [f"{f['file']}: {f['detail']}" if f["detail"] else f["file"] for f in files[:MAX_NAMED]]
    more = len(files) - len(names)
    return "; ".join(names) + (f"; and {more} more" if more else "")


@dataclass(frozen=True)
class DataSummary:
    """The contents of a prepared folder, as summary.json holds them.

    Attributes:
        splits: number of images by split.
        classes: by name, the share of all pixels (`pixels`) and of the images (`images`) that have the class, 0..1;
            empty if there is no image.
        skipped: ids of the images that could not be prepared.
        problems: for each kind of problem found, those of skipped images included, in the order of `CONSEQUENCES`:
            `kind`, `what_happens`, `count`, and `files`, each with `file` and `detail`.
    """

    splits: dict[str, int]
    classes: dict[str, dict[str, float]]
    skipped: list[int | str]
    problems: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """A table of the classes, and a line for each kind of problem."""
        rows = [f"{name:<10} {share['pixels']:>8.3%} {share['images']:>8.2%}" for name, share in self.classes.items()]
        lines = [
            f"problem: {found['count']} x {found['kind']} ({found['what_happens']}): {name_few(found['files'])}"
            for found in self.problems
        ]
        return "\n".join(["class        pixels   images", *rows, *(lines or ["problems: none"])])


def read_summary(folder: Path) -> DataSummary | None:
    """Return the summary of a prepared folder, or None if it has no readable one."""
    try:
        return DataSummary(**json.loads((folder / SUMMARY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def summarise(
    splits: dict[str, int],
    pixels: npt.NDArray[np.int64],
    skipped: Iterable[int | str],
    problems: Iterable[Problem],
    names: Sequence[str],
) -> DataSummary:
    """Summarise a preparation: the images of each split, each image's pixels of each class (N, C), and what failed."""
    shares = zip(names, pixels.sum(0) / max(1, pixels.sum()), (pixels > 0).sum(0) / max(1, len(pixels)), strict=True)
    classes = {name: {"pixels": float(p), "images": float(i)} for name, p, i in shares} if len(pixels) else {}
    files: dict[str, list[dict[str, str]]] = {kind: [] for kind in CONSEQUENCES}
    for kind, file, detail in sorted(problems):
        files[kind].append({"file": file, "detail": detail})
    found = [
        {"kind": kind, "what_happens": CONSEQUENCES[kind], "count": len(own), "files": own}
        for kind, own in files.items()
        if own
    ]
    return DataSummary(splits, classes, sorted(skipped), found)

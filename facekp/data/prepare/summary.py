"""What a preparation ends with: images, splits, each class's share and problems; on the screen and as summary.json."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facekp.classes import ATTRIBUTES, NUM_CLASSES
from facekp.data.layout import SPLITS
from facekp.data.prepare.problems import CONSEQUENCES, Kind, Problem, describe
from facekp.files import replacing

SUMMARY = "summary.json"


@dataclass(frozen=True)
class ClassShare:
    """How much of a data set a class is.

    Attributes:
        pixels: its share of all pixels, 0..1.
        images: share of the images that have it, 0..1.
    """

    pixels: float
    images: float


@dataclass(frozen=True)
class DataSummary:
    """What a prepared folder holds.

    Attributes:
        splits: number of images of each split.
        classes: each class's share, by name; empty where there is no image.
        left_out: ids of the images that could not be prepared.
        problems: what was wrong with the official folder, those images included.
    """

    splits: dict[str, int]
    classes: dict[str, ClassShare]
    left_out: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def text(self) -> str:
        """A table of the classes, and a line for each kind of problem."""
        rows = [f"{name:<10} {share.pixels:>8.3%} {share.images:>8.2%}" for name, share in self.classes.items()]
        problems = [f"problem: {line}" for line in describe(self.problems)] or ["problems: none"]
        return "\n".join(["class        pixels   images", *rows, *problems])

    def write(self, folder: Path) -> None:
        """Write `summary.json` into `folder`; the same summary always gives the same file.

        Raises:
            DataError: it cannot be written.
        """
        content = {
            "splits": self.splits,
            "classes": {name: vars(share) for name, share in self.classes.items()},
            "left_out": self.left_out,
            "problems": [_group(kind, self.problems) for kind in Kind if any(p.kind == kind for p in self.problems)],
        }
        with replacing(folder / SUMMARY) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "DataSummary | None":
        """Return the summary of a prepared folder, or None where it has none that can be read."""
        try:
            content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            return cls(
                content["splits"],
                {name: ClassShare(**share) for name, share in content["classes"].items()},
                tuple(content["left_out"]),
                tuple(Problem(Kind(g["kind"]), **row) for g in content["problems"] for row in g["files"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def summarise(
    splits: Iterable[str], pixels: npt.NDArray[np.int64], left_out: Iterable[int], problems: Iterable[Problem]
) -> DataSummary:
    """Sum up a preparation.

    Args:
        splits: the split of each prepared image.
        pixels: (images, 19), of each class in each of them.
        left_out: ids of the images that could not be prepared.
        problems: in any order.
    """
    sizes = Counter(splits)
    share, having = pixels.sum(axis=0) / max(1, pixels.sum()), (pixels > 0).sum(axis=0) / max(1, len(pixels))
    classes = {ATTRIBUTES[i]: ClassShare(float(share[i]), float(having[i])) for i in range(NUM_CLASSES)}
    counts = {split: sizes[split] for split in SPLITS}
    return DataSummary(counts, classes if len(pixels) else {}, tuple(sorted(left_out)), tuple(sorted(problems)))


def _group(kind: Kind, problems: Iterable[Problem]) -> dict[str, Any]:
    files = [{"file": p.file, "detail": p.detail} for p in problems if p.kind == kind]
    return {"kind": kind, "what_happens": CONSEQUENCES[kind], "count": len(files), "files": files}

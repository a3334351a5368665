"""`python -m facekp.compare RUN... out=FOLDER`: runs side by side, in comparison.html, .md, .csv and -*.svg.

A RUN is a run folder, the folder of a sweep (all its jobs), or a metrics.json under any name.
"""

import math
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

from facekp.cli import parse_cli
from facekp.errors import ConfigError, one_line_errors, require
from facekp.files import expand


@dataclass
class CompareConfig:
    """Where the comparison goes, and what it asks."""

    out: str | None = field(
        default=None, metadata={"help": "folder for the files; null: a single RUN's own, else comparison"}
    )
    target: float | None = field(
        default=None, metadata={"help": "mIoU whose time is given; null: the highest that all reached, by 0.05"}
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        target = self.target
        ok = target is None or (math.isfinite(target) and 0 < target <= 1)
        require("target", target, ok, "give an mIoU above 0 and at most 1, or null")


def main(argv: list[str]) -> None:
    """Compare the runs and print the ranking."""
    names = {setting.name for setting in fields(CompareConfig)}
    # Folders of a sweep may be called lr=0.1.
    runs = [a for a in argv if a.partition("=")[0] not in names and ("=" not in a or Path(a).exists())]
    runs = [run for run in runs if not run.startswith("-") and run != "help"]
    settings = [a for a in argv if a not in runs]
    config = parse_cli(CompareConfig, settings, program="python -m facekp.compare RUN...", about=__doc__ or "")
    if not runs:
        raise ConfigError("no run is given: name run folders, a sweep's folder, or metrics.json files")
    from facekp.compare.report import compare  # pandas and matplotlib take a second

    paths = [expand(run) for run in runs]
    own = paths[0] if len(paths) == 1 and paths[0].is_dir() else Path("comparison")
    print(compare(paths, own if config.out is None else expand(config.out), config.target))


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

"""`python -m facekp.data.audit root=...`: audit a prepared data set."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.errors import one_line_errors, require
from facekp.files import expand

ABOUT = "Finds duplicates, reversed labels, missing and tiny masks, and damaged files in a prepared data set."


@dataclass
class AuditSettings:
    """Settings of the command."""

    root: str = field(default=MISSING, metadata={"help": "prepared data set: images/, labels/, index.csv; only read"})
    out: str = field(default="audit", metadata={"help": "folder that audit.csv and audit.html are written to"})
    pictures: int = field(default=200, metadata={"help": "maximum number of pictures of each kind in audit.html"})
    workers: int | None = field(default=None, metadata={"help": "number of threads; null: one per core"})

    def __post_init__(self) -> None:
        """Check ranges."""
        require("pictures", self.pictures, self.pictures >= 0, "give 0 or more")
        require("workers", self.workers, self.workers is None or self.workers >= 1, "give at least 1, or null")


def main(argv: Sequence[str]) -> None:
    """Audit the data set that `argv` names."""
    settings = parse_cli(AuditSettings, argv, program="python -m facekp.data.audit", about=ABOUT)
    from facekp.data.audit.run import run_audit  # OpenCV, only once the settings are right

    print(run_audit(expand(settings.root), expand(settings.out), settings.pictures, settings.workers))


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

"""`python -m facekp.data.audit root=...`: writes audit.csv and audit.html, and prints what was found."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.data.audit.findings import KINDS, Finding, write_findings
from facekp.data.audit.search import audit
from facekp.data.audit.sheet import write_sheet
from facekp.data.layout import list_entries
from facekp.errors import one_line_errors, require
from facekp.files import expand, make_folder


@dataclass
class AuditSettings:
    """The settings of the command."""

    root: str = field(default=MISSING, metadata={"help": "prepared data set: images/, labels/, index.csv; only read"})
    out: str = field(default="audit", metadata={"help": "folder that audit.csv and audit.html are written to"})
    pictures: int = field(default=200, metadata={"help": "pictures of a kind in audit.html, at most"})
    workers: int | None = field(default=None, metadata={"help": "threads; null takes one a core"})

    def __post_init__(self) -> None:
        """Check ranges."""
        require("pictures", self.pictures, self.pictures >= 0, "give 0 or more")
        require("workers", self.workers, self.workers is None or self.workers >= 1, "give at least 1, or null")


def main(argv: Sequence[str]) -> None:
    """Audit a data set."""
    about = "Finds duplicates, reversed labels, missing and tiny masks, and damaged files in a prepared data set."
    settings = parse_cli(AuditSettings, argv, program="python -m facekp.data.audit", about=about)
    root, out = expand(settings.root), expand(settings.out)
    started = time.perf_counter()
    make_folder(out)
    findings = audit(root, workers=settings.workers)
    write_findings(out / "audit.csv", findings)
    images = len(list_entries(root))
    workers = settings.workers or os.cpu_count() or 1
    write_sheet(out / "audit.html", root, findings, images, most=settings.pictures, workers=workers)
    print(summarise(findings, images, time.perf_counter() - started, out))


def summarise(findings: Sequence[Finding], images: int, seconds: float, out: Path) -> str:
    """Return a table of what was found by kind, and what to do with it."""
    rows = [f"{'kind':<16} {'found':>6} {'images':>7} {'left out':>9}"]
    for kind, about in KINDS.items():
        own = [finding for finding in findings if finding.kind == kind]
        counts = len(own), len({f.id for f in own}), len({f.id for f in own if f.excluded})
        rows.append(f"{kind:<16} {counts[0]:>6} {counts[1]:>7} {counts[2]:>9}  {about.title}")
    left_out = len({finding.id for finding in findings if finding.excluded})
    crossing = sum(finding.crosses for finding in findings)
    rows += [
        "",
        f"{images} images in {seconds:.0f} s ({images / seconds:.1f} images/s); {crossing} pairs cross the split",
        f"look at {out / 'audit.html'}, edit the column exclude of {out / 'audit.csv'}, and train with "
        f"data.exclude={out / 'audit.csv'}: {left_out} training images left out",
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

"""How much the audit finds: `python -m benchmarks.audit root=...`, on a data set with a folder `flawed` in it.

`flawed/flaws.csv` says what is wrong with each image there (id, flaw, duplicate_of). They are audited together with the
data set's own images, of which what is flagged is to be looked at.
"""

import csv
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.data.audit.__main__ import main as run_audit
from facekp.data.audit.findings import KINDS
from facekp.data.layout import IMAGES, INDEX, LABELS, list_entries
from facekp.errors import DataError, one_line_errors
from facekp.files import expand

KNOWN = {"reversed": "reversed", "partly_reversed": "partly_reversed", "duplicate": "near_duplicate"}
"""Kind of finding that each flaw should give."""


@dataclass
class Settings:
    """What is measured, and where to."""

    root: str = field(default=MISSING, metadata={"help": "prepared data set with a folder flawed/"})
    out: str = field(default="audit", metadata={"help": "folder that audit.csv and audit.html are written to"})


def read_flaws(root: Path) -> list[dict[str, str]]:
    """Return the rows of `flawed/flaws.csv`.

    Raises:
        DataError: it is not there.
    """
    path = root / "flawed" / "flaws.csv"
    if not path.is_file():
        raise DataError(f"root is '{root}', which has no flawed/flaws.csv: give a data set with known flaws")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def join(root: Path, flaws: list[dict[str, str]], folder: Path) -> int:
    """Link the data set and its flawed images, as training images, into one; return the number of the first."""
    rows = [(root, entry.sample.id, entry.split) for entry in list_entries(root)]
    everything = rows + [(root / "flawed", flaw["id"], "train") for flaw in flaws]
    for name, suffix in ((IMAGES, "jpg"), (LABELS, "png")):
        (folder / name).mkdir()
        for source, image, _ in everything:
            (folder / name / f"{image}.{suffix}").symlink_to((source / name / f"{image}.{suffix}").resolve())
    lines = "".join(f"{image},{split}\n" for _, image, split in everything)
    (folder / INDEX).write_text("id,split\n" + lines, encoding="utf-8")
    return len(rows)


def report(flaws: list[dict[str, str]], audit_csv: Path, others: int) -> str:
    """Return the share of each known flaw that was found, and how many of the other images were flagged, by kind."""
    found: dict[str, set[str]] = defaultdict(set)
    pairs = set()
    with audit_csv.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[row["kind"]].add(row["id"])
            pairs |= {(row["id"], row["other_id"])} if row["other_id"] else set()
    lines = ["", "known flaws found"]
    for flaw, kind in KNOWN.items():
        rows = [row for row in flaws if row["flaw"] == flaw and (flaw != "duplicate" or row["duplicate_of"])]
        if flaw == "duplicate":
            hits = sum((row["id"], row["duplicate_of"]) in pairs for row in rows)
        else:
            hits = len({row["id"] for row in rows} & found[kind])
        lines.append(f"{flaw:<16} {hits} of {len(rows)} ({hits / len(rows):.1%})")
    own = {row["id"] for row in flaws}
    lines += ["", f"flagged among the {others} others"]
    for kind, about in KINDS.items():
        flagged = len(found[kind] - own)
        lines.append(f"{kind:<16} {flagged:>5} ({flagged / others:.2%}){'' if about.excludes else '  not left out'}")
    left_out = len(set().union(*(found[kind] for kind, about in KINDS.items() if about.excludes)) - own)
    lines.append(f"{'left out':<16} {left_out:>5} ({left_out / others:.2%}), val counted too")
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Audit both together, and print the shares."""
    settings = parse_cli(Settings, argv, program="python -m benchmarks.audit", about="How much the audit finds.")
    root, out = expand(settings.root), expand(settings.out)
    flaws = read_flaws(root)
    with tempfile.TemporaryDirectory() as name:
        others = join(root, flaws, Path(name))
        run_audit([f"root={name}", f"out={out}"])
    print(report(flaws, out / "audit.csv", others))


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

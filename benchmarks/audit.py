"""Share of known flaws that the audit finds: `python -m benchmarks.audit root=...`.

The data set has a folder `flawed` whose `flaws.csv` lists the flaw of each image there (id, flaw, duplicate_of). They
are audited together with the data set's own images; inspect flagged images of the latter by eye.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import MISSING
from tabulate import tabulate

from benchmarks.harness import run
from facekp.data.audit.__main__ import main as run_audit
from facekp.data.audit.findings import KINDS
from facekp.data.layout import IMAGES, INDEX, LABELS
from facekp.errors import DataError
from facekp.files import expand
from facekp.settings import setting

KNOWN = {"reversed": "reversed", "partly_reversed": "partly_reversed", "duplicate": "near_duplicate"}
"""Expected kind of finding for each flaw."""


@dataclass
class Options:
    """Data set to audit, and output folder."""

    root: str = setting(MISSING, "prepared data set with a folder flawed/")
    out: str = setting("audit", "folder for audit.csv and audit.html")


def join(root: Path, flaws: pd.DataFrame, folder: Path) -> int:
    """Link a data set and its flawed images (as training images) into one; return the number of its own images."""
    own = pd.read_csv(root / INDEX, dtype=str)
    everything = [(root, own), (root / "flawed", flaws.assign(split="train"))]
    for name, suffix in ((IMAGES, "jpg"), (LABELS, "png")):
        (folder / name).mkdir()
        for source, rows in everything:
            for image in rows["id"]:
                (folder / name / f"{image}.{suffix}").symlink_to((source / name / f"{image}.{suffix}").resolve())
    pd.concat([rows[["id", "split"]] for _, rows in everything]).to_csv(folder / INDEX, index=False)
    return len(own)


def report(flaws: pd.DataFrame, found: pd.DataFrame, others: int) -> str:
    """Return two tables: the share of each known flaw that audit.csv (`found`) lists, and the flagged others."""
    known = []
    for flaw, kind in KNOWN.items():
        rows, own = flaws[flaws.flaw == flaw], found[found.kind == kind]
        if flaw == "duplicate":
            rows = rows[rows.duplicate_of != ""]
            pairs = set(zip(found["id"], found.other_id, strict=True))
            hits = sum(pair in pairs for pair in zip(rows["id"], rows.duplicate_of, strict=True))
        else:
            hits = rows["id"].isin(own["id"]).sum()
        known.append([flaw, hits, len(rows), f"{hits / len(rows):.1%}"])
    rest = found[~found["id"].isin(flaws["id"])]
    counts = rest.groupby("kind")["id"].nunique().reindex(KINDS, fill_value=0)
    excluded = rest.kind.isin([kind for kind, about in KINDS.items() if about.excludes])
    counts["excluded, val counted too"] = rest[excluded]["id"].nunique()
    flagged = [[kind, count, f"{count / others:.2%}"] for kind, count in counts.items()]
    headings = [f"flagged among the {others} others", "images", "share"]
    return f"{tabulate(known, ['known flaw', 'found', 'of', 'share'])}\n\n{tabulate(flagged, headings)}"


def main(settings: Options) -> None:
    """Audit both together, and print the shares."""
    root, out = expand(settings.root), expand(settings.out)
    path = root / "flawed" / "flaws.csv"
    if not path.is_file():
        raise DataError(f"root is '{root}', which has no flawed/flaws.csv: give a data set with known flaws")
    flaws = pd.read_csv(path, dtype=str, keep_default_na=False)
    with tempfile.TemporaryDirectory() as name:
        others = join(root, flaws, Path(name))
        run_audit([f"root={name}", f"out={out}"])
    print(report(flaws, pd.read_csv(out / "audit.csv", dtype=str, keep_default_na=False), others))


if __name__ == "__main__":
    run(Options, main, __doc__)

"""The audit itself: every image on its own, then all of them against each other."""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
from joblib import Parallel, delayed
from tabulate import tabulate
from tqdm import tqdm

from facekp.data.audit.duplicates import find_near_duplicates
from facekp.data.audit.examine import Examined, examine
from facekp.data.audit.findings import KINDS, Finding, Flaw, write_findings
from facekp.data.audit.sheet import write_sheet
from facekp.data.layout import list_entries, recognise
from facekp.errors import DataError, require
from facekp.files import make_folder


def run_audit(root: Path, out: Path, pictures: int = 200, workers: int | None = None) -> str:
    """Audit the prepared data set `root`, write audit.csv and audit.html into `out`, and return a summary."""
    started = time.perf_counter()
    make_folder(out)
    findings = audit(root, workers=workers)
    write_findings(out / "audit.csv", findings)
    images = len(list_entries(root))
    write_sheet(out / "audit.html", root, findings, images, limit=pictures, workers=workers or os.cpu_count() or 1)
    rows = []
    for kind, about in KINDS.items():
        own = [finding for finding in findings if finding.kind == kind]
        rows.append((kind, len(own), len({f.id for f in own}), len({f.id for f in own if f.excluded}), about.title))
    seconds = time.perf_counter() - started
    excluded = len({finding.id for finding in findings if finding.excluded})
    crossing = sum(finding.crosses for finding in findings)
    return f"""{tabulate(rows, ["kind", "found", "images", "excluded", ""])}

{images} images in {seconds:.0f} s ({images / seconds:.1f} images/s); {crossing} pairs cross the split
look at {out / "audit.html"}, edit the column exclude of {out / "audit.csv"}, and train with
data.exclude={out / "audit.csv"}: {excluded} training images excluded"""


def audit(root: Path, *, workers: int | None = None) -> list[Finding]:
    """Return the findings in the prepared data set `root`, by kind and in the order of its index.

    Args:
        root: the folder, in the prepared layout; it is only read.
        workers: number of threads; None starts one per core.

    Raises:
        ConfigError: fewer than one worker.
        DataError: a folder that is missing or not prepared, or an unusable index.
    """
    require("workers", workers, workers is None or workers >= 1, "give at least 1, or null for one per core")
    if recognise(root, setting="root") == "official":
        prepare = f"python -m facekp.data.prepare raw={root} out=..."
        raise DataError(f"root is '{root}', the official layout: prepare it ({prepare}) and give its out")
    entries = list_entries(root)
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # they would compete with ours for the cores
    try:
        # Threads: nearly all of the work is C code that releases Python's lock.
        with Parallel(workers or os.cpu_count() or 1, backend="threading", return_as="generator") as pool:
            interval = 0.5 if sys.stderr.isatty() else 10
            jobs = pool(delayed(examine)(entry) for entry in entries)
            examined = list(tqdm(jobs, "examining", len(entries), unit=" images", mininterval=interval))
            findings = [_finding(e, flaw) for e in examined for flaw in e.flaws] + compare(examined, pool)
    finally:
        cv2.setNumThreads(opencv_threads)
    kinds, order = list(KINDS), {entry.sample.id: entry.row for entry in entries}
    return sorted(findings, key=lambda f: (kinds.index(f.kind), order[f.id], order.get(f.other_id, -1)))


def compare(examined: Sequence[Examined], pool: Parallel) -> list[Finding]:
    """Find equal images, near-duplicates, and equal labels of different images.

    A finding names the image to exclude and the one to keep, which is that of val or test if the splits differ.
    """
    equal = _groups(examined, "image_digest")
    findings = [_finding(e, Flaw("duplicate", "equal to the pixel"), kept) for kept, *rest in equal for e in rest]
    firsts = [group[0] for group in equal]  # copies would be found again, each with each
    for pair in find_near_duplicates([e.thumb for e in firsts if e.thumb is not None], pool):
        kept, other = sorted((firsts[pair.first], firsts[pair.second]), key=lambda e: e.rank)
        detail = "the same photo, mirrored" if pair.mirrored else "the same photo"
        findings.append(_finding(other, Flaw("near_duplicate", detail, min(pair.score, 1.0)), kept))
    similar = {frozenset((f.id, f.other_id)) for f in findings}
    for kept, *rest in _groups(examined, "label_digest"):
        for e in rest:
            if frozenset((kept.entry.sample.id, e.entry.sample.id)) not in similar:
                # It is unknown which of the two has the right label.
                flaw = Flaw("same_label", "one of the two has another image's label")
                findings += [_finding(kept, flaw, e), _finding(e, flaw, kept)]
    return findings


def _groups(examined: Sequence[Examined], digest: Literal["image_digest", "label_digest"]) -> list[list[Examined]]:
    """Group equal images or labels; the first of each group is kept."""
    groups: dict[bytes, list[Examined]] = defaultdict(list)
    for e in sorted(examined, key=lambda e: e.rank):
        if getattr(e, digest):
            groups[getattr(e, digest)].append(e)
    return list(groups.values())


def _finding(examined: Examined, flaw: Flaw, other: Examined | None = None) -> Finding:
    entry = examined.entry
    pair = ("", "") if other is None else (other.entry.sample.id, other.entry.split)
    return Finding(entry.sample.id, entry.split, *flaw, *pair)

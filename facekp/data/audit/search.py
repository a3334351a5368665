"""The audit of a data set: every image by itself, then all of them against one another."""

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import cv2
from tqdm import tqdm

from facekp.data.audit.duplicates import find_near_duplicates
from facekp.data.audit.examine import Examined, examine
from facekp.data.audit.findings import KINDS, Finding
from facekp.data.audit.flaw import Flaw
from facekp.data.layout import list_entries, recognise
from facekp.errors import DataError, require


def audit(root: Path, *, workers: int | None = None) -> list[Finding]:
    """Return what is wrong in the prepared data set `root`, by kind and in the order of its index.

    Args:
        root: the folder, in the prepared layout; nothing is written to it.
        workers: threads; None takes one a core.

    Raises:
        ConfigError: a number of workers below 1.
        DataError: a folder that is missing or not prepared, or an index that cannot be used.
    """
    require("workers", workers, workers is None or workers >= 1, "give at least 1, or null for one a core")
    if recognise(root, setting="root") == "official":
        prepare = f"python -m facekp.data.prepare raw={root} out=..."
        raise DataError(f"root is '{root}', the official layout: prepare it ({prepare}) and give its out")
    entries = list_entries(root)
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # they would fight ours for the cores
    # Threads: nearly all of the work is C code outside Python's lock.
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        interval = 0.5 if sys.stderr.isatty() else 10
        looked_at = pool.map(examine, entries)
        examined = list(tqdm(looked_at, "examining", len(entries), unit=" images", mininterval=interval))
        findings = [_finding(e, flaw) for e in examined for flaw in e.flaws] + compare(examined, pool)
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(opencv_threads)
    order = {entry.sample.id: entry.row for entry in entries}
    return sorted(findings, key=lambda f: (list(KINDS).index(f.kind), order[f.id], order.get(f.other_id, -1)))


def compare(examined: Sequence[Examined], pool: ThreadPoolExecutor) -> list[Finding]:
    """Compare all with all: equal images, near-duplicates, and equal labels of images that differ.

    A finding names the image to leave out; the other one is kept, of two splits that of val or test.
    """
    equal = _groups(examined, "image_digest")
    findings = [_finding(e, Flaw("duplicate", "equal to the pixel"), kept) for kept, *rest in equal for e in rest]
    # Copies would be found again, each with each.
    firsts = [group[0] for group in equal]
    for pair in find_near_duplicates([e.thumb for e in firsts if e.thumb is not None], pool):
        kept, other = sorted((firsts[pair.first], firsts[pair.second]), key=lambda e: e.rank)
        detail = "the same photo, mirrored" if pair.mirrored else "the same photo"
        findings.append(_finding(other, Flaw("near_duplicate", detail, min(pair.score, 1.0)), kept))
    alike = {frozenset((f.id, f.other_id)) for f in findings}
    for kept, *rest in _groups(examined, "label_digest"):
        for e in rest:
            if frozenset((kept.entry.sample.id, e.entry.sample.id)) not in alike:
                # Which of the two has the right label is not known.
                flaw = Flaw("same_label", "one of the two has another image's label")
                findings += [_finding(kept, flaw, e), _finding(e, flaw, kept)]
    return findings


def _groups(examined: Sequence[Examined], digest: Literal["image_digest", "label_digest"]) -> list[list[Examined]]:
    """Group what has the same digest, the one that is kept at the head of each group."""
    groups: dict[bytes, list[Examined]] = defaultdict(list)
    for e in sorted(examined, key=lambda e: e.rank):
        if getattr(e, digest):
            groups[getattr(e, digest)].append(e)
    return list(groups.values())


def _finding(examined: Examined, flaw: Flaw, other: Examined | None = None) -> Finding:
    entry = examined.entry
    pair = ("", "") if other is None else (other.entry.sample.id, other.entry.split)
    return Finding(entry.sample.id, entry.split, flaw.kind, flaw.detail, flaw.score, *pair)

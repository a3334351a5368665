"""The audit itself: checks of every image, then comparisons between images."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tabulate import tabulate

from facekp.cli import Progress
from facekp.data.audit.checks import check_face
from facekp.data.audit.duplicates import find_near_duplicates, thumbnail
from facekp.data.audit.findings import KINDS, Finding, Flaw, is_unedited
from facekp.data.audit.order import has_order, report_order
from facekp.data.audit.sheet import PAGE, write_sheet
from facekp.data.layout import Sample, list_samples, recognise
from facekp.errors import DataError
from facekp.files import as_cell, begins_with, keep_foreign, make_folder, write_file
from facekp.images import UInt8Array, read_image, read_label


@dataclass(eq=False)
class Examined:
    """An examined image: 4 kB, so that 30,000 fit in memory.

    `thumb` is (64, 64) uint8, grey, or None if the image is unreadable; the digest of an unreadable image or label, or
    of a label without a face, is empty. `in_order` is False if its parts lie as in labels of other classes.
    """

    sample: Sample
    flaws: list[Flaw]
    thumb: UInt8Array | None = None
    image_digest: bytes = b""
    label_digest: bytes = b""
    in_order: bool = True


def examine(sample: Sample) -> Examined:
    """Read an image and its label, and report their flaws."""
    found = Examined(sample, [])
    image = label = None
    try:
        image = read_image(sample.image)
        found.thumb, found.image_digest = thumbnail(image), _digest(image)
    except DataError as error:
        found.flaws.append(Flaw("unreadable", str(error)))
    try:
        label = read_label(sample.label, sample.classes)
        faces = sample.classes.ids("skin") or range(1, len(sample.classes))
        found.label_digest = _digest(label) if np.isin(label, faces).any() else b""
        found.in_order = has_order(label, sample.classes)
    except DataError as error:
        found.flaws.append(Flaw("unreadable", str(error)))
    if image is not None and label is not None:
        found.flaws.extend(check_face(image, label, sample.classes))
    return found


def run_audit(
    root: Path, out: Path, pictures: int = 200, workers: int | None = None, *, overwrite: bool = False
) -> str:
    """Audit the prepared data set `root`, write audit.csv and audit.html into `out`, and return a summary.

    Raises:
        DataError: see `audit`; or, without `overwrite`, `out` has another program's files of these names, or an
            audit.csv whose exclude column was edited.
    """
    started = time.perf_counter()
    images = len(list_prepared(root))
    keep_foreign({out / "audit.csv": is_unedited, out / "audit.html": begins_with(PAGE)}, overwrite=overwrite)
    make_folder(out)
    findings = audit(root, workers=workers or -1)
    table = pd.DataFrame(findings, columns=Finding._fields)
    cells = table.assign(id=table.id.map(as_cell), other_id=table.other_id.map(as_cell))
    write_file(out / "audit.csv", cells.to_csv(index=False, float_format="%.3f", lineterminator="\n"))
    write_sheet(out / "audit.html", root, findings, images, limit=pictures, workers=workers or -1)
    excluded = table[table.exclude == "yes"]
    counts = [table.groupby("kind").id.agg(["size", "nunique"]), excluded.groupby("kind").id.nunique()]
    summary = pd.concat(counts, axis=1).reindex(list(KINDS)).fillna(0).astype(int)
    rows = [(*row, KINDS[row[0]].title) for row in summary.itertuples()]
    crossing = sum(finding.crosses for finding in findings)
    seconds = time.perf_counter() - started
    return f"""{tabulate(rows, ["kind", "found", "images", "excluded", ""])}

{images} images in {seconds:.0f} s ({images / seconds:.1f} images/s); {crossing} pairs cross the split
look at {out / "audit.html"}, edit the exclude column of {out / "audit.csv"}, and train with
data.exclude={out / "audit.csv"}: {excluded.id.nunique()} training images excluded"""


def list_prepared(root: Path) -> list[Sample]:
    """List the samples of a data set; raise DataError unless it is in the prepared layout."""
    if recognise(root, setting="root") == "official":
        prepare = f"facekp prepare raw={root} out=..."
        raise DataError(f"root is '{root}', the official layout: prepare it ({prepare}) and give its out")
    return list_samples(root)


def audit(root: Path, *, workers: int = -1) -> list[Finding]:
    """Return the findings in the prepared data set `root`, by kind and in the order of its index.

    `root` is only read. `workers` is the number of threads; -1 starts one per core.

    Raises:
        DataError: a folder that is missing or not prepared, or an unusable index.
    """
    samples = list_prepared(root)
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # they would compete with our threads for the cores
    try:
        # Threads: nearly all of the work is C code that releases the GIL.
        with Parallel(workers, backend="threading", return_as="generator") as pool:
            jobs = pool(delayed(examine)(sample) for sample in samples)
            examined = list(Progress(jobs, "examining", len(samples), unit=" images"))
            report_order(root, [e.in_order for e in examined])
            findings = [Finding.of(e.sample, flaw) for e in examined for flaw in e.flaws] + compare(examined, pool)
    finally:
        cv2.setNumThreads(opencv_threads)
    kinds, order = list(KINDS), {sample.id: row for row, sample in enumerate(samples)}
    return sorted(findings, key=lambda f: (kinds.index(f.kind), order[f.id], order.get(f.other_id, -1)))


def compare(examined: Sequence[Examined], pool: Parallel) -> list[Finding]:
    """Find equal images, near-duplicates, and equal labels of different images.

    A finding names the image to exclude and the one to keep: the val or test image if the splits differ, otherwise the
    first one in `examined`.
    """
    equal = _groups(examined, lambda e: e.image_digest)
    copy = Flaw("duplicate", "equal to the pixel")
    findings = [Finding.of(e.sample, copy, kept.sample) for kept, *rest in equal for e in rest]
    firsts = [group[0] for group in equal]  # copies would be found again, in every pairing
    for pair in find_near_duplicates([e.thumb for e in firsts if e.thumb is not None], pool):
        detail = "the same photo, mirrored" if pair.mirrored else "the same photo"
        flaw = Flaw("near_duplicate", detail, min(pair.score, 1.0))
        findings.append(Finding.of(firsts[pair.second].sample, flaw, firsts[pair.first].sample))
    similar = {frozenset((f.id, f.other_id)) for f in findings}
    flaw = Flaw("same_label", "one of the two has another image's label")  # it is unknown which
    for kept, *rest in _groups(examined, lambda e: e.label_digest):
        for e in rest:
            if frozenset((kept.sample.id, e.sample.id)) not in similar:
                findings += [Finding.of(kept.sample, flaw, e.sample), Finding.of(e.sample, flaw, kept.sample)]
    return findings


def _groups(examined: Sequence[Examined], digest: Callable[[Examined], bytes]) -> list[list[Examined]]:
    """Group equal images or labels; the first image of a group is the one to keep, from val or test if possible."""
    groups: dict[bytes, list[Examined]] = defaultdict(list)
    for e in sorted(filter(digest, examined), key=lambda e: e.sample.split == "train"):
        groups[digest(e)].append(e)
    return list(groups.values())


def _digest(pixels: UInt8Array) -> bytes:
    return hashlib.blake2b(pixels.tobytes() + str(pixels.shape).encode(), digest_size=16).digest()

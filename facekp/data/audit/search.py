"""The audit of a data set: every image by itself, then all of them against one another."""

import hashlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from facekp.attributes import IGNORE_INDEX, NUM_CLASSES
from facekp.config import require
from facekp.data.audit.duplicates import find_near_duplicates, thumbnail
from facekp.data.audit.flaw import Flaw
from facekp.data.audit.geometry import SKIN, find_frame, find_patches
from facekp.data.audit.parts import check_missing, check_size
from facekp.data.audit.sides import check_sides
from facekp.data.findings import KINDS, Finding
from facekp.data.layout import INDEX, Entry, list_entries, recognise
from facekp.errors import DataError
from facekp.images import UInt8Array, read_image, read_label, resize


T = TypeVar("T")


@dataclass(frozen=True)
class Examined:
    """What is kept of an image that was looked at: 4 kB, so that 30,000 fit in memory.

    Attributes:
        entry: its row of the index.
        flaws: what is wrong with it by itself.
        thumb: (64, 64) uint8, grey, or None where the image cannot be read.
        image_digest: tells whether two images are equal to the pixel; empty where the image cannot be read.
        label_digest: the same of their labels; empty where the label cannot be read or holds no face.
    """

    entry: Entry
    flaws: list[Flaw]
    thumb: UInt8Array | None = None
    image_digest: bytes = b""
    label_digest: bytes = b""

    @property
    def rank(self) -> tuple[bool, int]:
        """Order in which of several equal images one is kept: evaluation images first, then as the index lists them."""
        return self.entry.split == "train", self.entry.row


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
        raise DataError(f"root is '{root}', the official layout: prepare it (python -m facekp.data.prepare raw={root} out=...)")
    entries = list_entries(root)
    twice = [name for name, count in Counter(entry.sample.id for entry in entries).items() if count > 1]
    if twice:
        raise DataError(f"{root / INDEX}: lists id {twice[0]} more than once, as {len(twice)} ids; leave one row of each")
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # they would fight ours for the cores
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        examined = list(progress(pool.map(examine, entries), "examining", len(entries)))
        findings = [_finding(e, flaw) for e in examined for flaw in e.flaws]
        findings += _alike(examined, pool)
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(opencv_threads)
    order = {entry.sample.id: entry.row for entry in entries}
    return sorted(findings, key=lambda f: (list(KINDS).index(f.kind), order[f.id], order.get(f.other_id, 0)))


def progress(items: Iterator[T], what: str, total: int) -> Iterator[T]:
    """Show how far it is, images a second and the time left."""
    return iter(tqdm(items, what, total, unit=" images", mininterval=0.5 if sys.stderr.isatty() else 10))


def examine(entry: Entry) -> Examined:
    """Read an image and its label, and tell what is wrong with them."""
    flaws: list[Flaw] = []
    image, label = None, None
    try:
        image = read_image(entry.sample.image)
    except DataError as error:
        flaws.append(Flaw("unreadable", str(error)))
    try:
        label = read_label(entry.sample.label)
    except DataError as error:
        flaws.append(Flaw("unreadable", str(error)))
    if image is not None and label is not None:
        flaws += examine_pair(image, label)
    has_face = label is not None and bool((label == SKIN).any())
    return Examined(
        entry,
        flaws,
        None if image is None else thumbnail(image),
        b"" if image is None else _digest(image),
        _digest(label) if label is not None and has_face else b"",
    )


def examine_pair(image: UInt8Array, label: UInt8Array) -> list[Flaw]:
    """Tell what is wrong with an image and its label.

    Args:
        image: (H, W, 3) uint8, RGB.
        label: (h, w) uint8, class ids or 255.
    """
    if image.shape[0] * label.shape[1] != image.shape[1] * label.shape[0]:
        sizes = f"image {image.shape[1]} x {image.shape[0]}, label {label.shape[1]} x {label.shape[0]} pixels"
        return [Flaw("mismatch", sizes)]
    counts = np.bincount(label.ravel(), minlength=IGNORE_INDEX + 1)[:NUM_CLASSES]
    flaws = check_size(counts)
    if counts[SKIN]:
        height, width = label.shape
        patches = find_patches(label, counts)
        frame = find_frame(label, counts, patches)
        missing = check_missing(resize(image, (height, width)), label, counts, patches, frame)
        flaws += [flaw for flaw in (check_sides(patches, frame), missing) if flaw]
    return flaws


def _alike(examined: Sequence[Examined], pool: ThreadPoolExecutor) -> list[Finding]:
    """Compare all with all: equal images, near-duplicates, and equal labels of images that differ."""
    findings: list[Finding] = []
    groups = _groups(examined, "image_digest")
    for first, *others in groups:
        findings += [_finding(e, Flaw("duplicate", "equal to the pixel"), first) for e in others]
    kept = [group[0] for group in groups]
    pairs = find_near_duplicates([e.thumb for e in kept if e.thumb is not None], pool)
    for pair in pairs:
        keep, drop = sorted((kept[pair.first], kept[pair.second]), key=lambda e: e.rank)
        detail = "the same photo, mirrored" if pair.mirrored else "the same photo"
        findings.append(_finding(drop, Flaw("near_duplicate", detail, min(pair.score, 1.0)), keep))
    alike = {frozenset((f.id, f.other_id)) for f in findings}
    for first, *others in _groups(examined, "label_digest"):
        for other in others:
            if other.image_digest != first.image_digest and frozenset((first.entry.sample.id, other.entry.sample.id)) not in alike:
                findings += [_finding(a, Flaw("same_label", "one of the two labels is another image's"), b) for a, b in ((first, other), (other, first))]
    return findings


def _groups(examined: Sequence[Examined], digest: str) -> list[list[Examined]]:
    """Group what has the same digest; in each group, first what is kept."""
    groups: dict[bytes, list[Examined]] = defaultdict(list)
    for e in sorted(examined, key=lambda e: e.rank):
        if getattr(e, digest):
            groups[getattr(e, digest)].append(e)
    return list(groups.values())


def _digest(pixels: UInt8Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels), digest_size=16, salt=str(pixels.shape).encode()[:16]).digest()


def _finding(examined: Examined, flaw: Flaw, other: Examined | None = None) -> Finding:
    entry = examined.entry
    finding = Finding(entry.sample.id, entry.split, *flaw)
    if other is None:
        return finding
    return Finding(entry.sample.id, entry.split, *flaw, other.entry.sample.id, other.entry.split)

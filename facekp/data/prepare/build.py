"""Preparation of a data set as it is downloaded.

Files are written atomically, and `index.csv` last, so a folder with an index is complete. An interrupted preparation
continues where it stopped.
"""

import csv
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.cli import Progress
from facekp.data.class_sets import CLASS_FILE, map_classes
from facekp.data.layout import IMAGES, INDEX, LABELS, MIN_SIDE, SPLITS, recognise
from facekp.data.prepare.convert import Id, Target, convert, read_back, stem_of
from facekp.data.prepare.dataset import SETS, DataSet
from facekp.data.prepare.summary import SUMMARY, DataSummary, Problem, name_few, read_summary, summarise
from facekp.data.prepare.workers import run_in_processes
from facekp.errors import DataError, require
from facekp.files import ANOTHER, exclusive_lock, make_folder, require_space, write_file

SOURCE = "source.json"
"""Records what a prepared folder was made from, without the images, which may be replaced or removed if damaged."""


@dataclass(frozen=True)
class Preparation:
    """The result of `prepare`; `summary` is None if the folder was already complete and has no summary.json."""

    out: Path
    summary: DataSummary | None
    images: int
    written: int
    seconds: float

    @property
    def text(self) -> str:
        """Images, splits and speed in a line, followed by the summary."""
        speed = f"{self.written} written in {self.seconds:.1f} s, {self.written / self.seconds:.1f} images/s"
        done = speed if self.written else "nothing was left to do"
        if not self.summary:
            return f"{self.out} holds {self.images} images: {done}"
        splits = ", ".join(f"{name} {count}" for name, count in self.summary.splits.items())
        return f"{self.out} holds {self.images} images ({splits}): {done}\n{self.summary.text}"


def prepare(
    raw: Path,
    out: Path,
    *,
    size: int = 512,
    workers: int | None = None,
    skip_bad: bool = False,
    classes: Classes | None = None,
    mapping: Mapping[str, str] | None = None,
) -> Preparation:
    """Write the prepared layout of the data set `raw` to `out`, keeping files that already exist.

    `raw` is laid out as one of `facekp.data.prepare.sets`, and may lack some of the images. `classes` and `mapping`
    are the target and the new names of `facekp.data.class_sets.map_classes`. `size` is the side of the prepared
    images and labels, pixels; `workers` is the number of processes, by default one per core. `skip_bad` skips images
    that cannot be prepared, for which an error is otherwise raised once all others are written.

    Raises:
        ConfigError: a size or a number of workers out of range, or classes that do not fit.
        DataError: the source is missing, incomplete or damaged, or `out` cannot be written, has no space, or was made
            from another source.
    """
    started = time.perf_counter()
    require("size", size, size >= MIN_SIDE, f"give at least {MIN_SIDE} pixels, such as 512")
    require("workers", workers, workers is None or workers >= 1, "give at least 1, or null for one per core")
    if (raw / INDEX).is_file() and not (classes or mapping):
        raise DataError(f"raw is '{raw}', which is prepared already ({INDEX} is there): train with data.root={raw}")
    data = next((found for name in SETS.names() if (found := SETS[name](raw)) is not None), None)
    if data is None:
        recognise(raw, setting="raw")  # raises, unless it has an index alone
        raise DataError(f"raw is '{raw}', which has an {INDEX} but no {LABELS}/: restore them")
    splits, images, written = data.splits, data.images, 0
    known, ids = map_classes(data.classes, mapping or {}, classes)
    target = Target(known, tuple(ids))
    source = {"raw": str(raw.resolve()), "size": size, "mapping": data.digest}
    if target.classes != CELEBAMASK_HQ:
        source |= {"classes": target.classes.to_plain(), "ids": ids}
    _require_same(out, source)  # before a lock file is written
    with exclusive_lock(make_folder(out)):
        _require_same(out, source)
        write_file(out / SOURCE, json.dumps(source, indent=2) + "\n")
        summary = read_summary(out)
        skipped = set(summary.skipped if summary else ())
        complete = (out / INDEX).is_file()
        if complete and (out / INDEX).read_text(encoding="utf-8") != _index(images.keys() - skipped, splits):
            raise DataError(
                f"{out / INDEX}: lists other images or splits than the source has now; remove this file to prepare "
                f"what is missing, or {ANOTHER}"
            )
        if not complete:
            summary, written = _write_faces(data, out, size, workers, skip_bad, target)
            write_file(out / SUMMARY, json.dumps(vars(summary), indent=1) + "\n")
            bad = [file for p in summary.problems if "skipped" in p["what_happens"] for file in p["files"]]
            if bad and not (skip_bad and any(summary.splits.values())):
                raise DataError(
                    f"folder '{raw}': {len(bad)} of its images cannot be prepared, all others are: {name_few(bad)}; "
                    "repair or remove these and start again, or skip them: facekp prepare "
                    f"raw={raw} out={out} skip_bad=true ({SUMMARY} names all)"
                )
            skipped = set(summary.skipped)
            for part in (part for name in (".", IMAGES, LABELS) for part in (out / name).glob(".*.part")):
                part.unlink(missing_ok=True)  # left by killed runs
            if target.classes != CELEBAMASK_HQ:
                write_file(out / CLASS_FILE, json.dumps(target.classes.to_plain(), indent=2) + "\n")
            write_file(out / INDEX, _index(images.keys() - skipped, splits))
    return Preparation(out, summary, len(images) - len(skipped), written, time.perf_counter() - started)


def _require_same(out: Path, source: dict[str, Any]) -> None:
    """Raise DataError if `out` holds images that were not made from `source`."""
    path = out / SOURCE
    used = any((out / name).exists() for name in (INDEX, SUMMARY)) or any(
        any((out / name).glob("[!.]*")) for name in (IMAGES, LABELS)
    )
    if not used and not path.exists():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = f"'{found['raw']}' at {found['size']} pixels"
    except FileNotFoundError:
        raise DataError(f"folder '{out}': holds images that prepare did not write; {ANOTHER}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read; remove folder '{out}', or {ANOTHER}") from error
    if used and found != source:
        now = f"'{source['raw']}' at {source['size']} pixels"
        how = f"not from {now}" if before != now else "whose mapping has changed since"
        raise DataError(f"folder '{out}': was prepared from {before}, {how}; remove it, or {ANOTHER}")


def _index(ids: set[Id], splits: Mapping[Id, str]) -> str:
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([("id", "split"), *((stem_of(i), splits[i]) for i in sorted(ids))])
    return text.getvalue()


def _write_faces(
    data: DataSet, out: Path, size: int, workers: int | None, skip_bad: bool, target: Target
) -> tuple[DataSummary, int]:
    """Prepare the missing faces; return the summary of all, and how many were written."""
    faces, problems = data.pair(skip_bad)
    images, labels = ({path.stem for path in (out / name).glob("[!.]*")} for name in (IMAGES, LABELS))
    there = images & labels
    again = [face for face in faces if stem_of(face.id) in there]
    # At 512 pixels, a real face takes 0.26 bytes a pixel, a drawn one 0.30; two files end in half-empty blocks.
    require_space(out, (len(faces) - len(again)) * (0.35 * size**2 + 8192))
    for name in (IMAGES, LABELS):
        make_folder(out / name)
    bar = partial(Progress, unit=" images")
    back = run_in_processes(partial(read_back, out=out, target=target), again, workers)
    done = {face.id: face for face in bar(back, "reading existing files", len(again), disable=not again) if face}
    left = [face for face in faces if face.id not in done]
    new = run_in_processes(partial(convert, out=out, size=size, target=target), left, workers)
    made = list(bar(new, "preparing", len(faces), initial=len(done), disable=not left))
    done |= {face.id: face for face in made}
    whole = {face.id: pixels for face in faces if (pixels := done[face.id].pixels) is not None}
    pixels_of = np.array(list(whole.values()), np.int64).reshape(-1, len(target.classes))
    problems += [problem for face in faces for problem in done[face.id].problems]
    for name, count in zip(target.classes.names[1:], pixels_of.sum(0)[1:], strict=True):
        if whole and not count:
            problems.append(Problem("class that no image has", data.masks_of.format(name)))
    sizes = {split: sum(data.splits[i] == split for i in whole) for split in SPLITS}
    skipped = data.images.keys() - whole.keys()
    summary = summarise(sizes, pixels_of, skipped, problems, target.classes.names)
    return summary, sum(face.pixels is not None for face in made)

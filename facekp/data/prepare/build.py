"""From the official CelebAMask-HQ folder to the prepared one: `python -m facekp.data.prepare raw=... out=...`.

The result appears file by file, each complete when it appears, and `index.csv` last: where it is, all is there.
A run that was stopped goes on where it stood.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from omegaconf import MISSING
from tqdm import tqdm

from facekp.classes import NUM_CLASSES
from facekp.cli import parse_cli
from facekp.data.layout import IMAGES, INDEX, LABELS, OFFICIAL_IMAGES, OFFICIAL_MAPPING, OFFICIAL_MASKS, recognise
from facekp.data.prepare.claim import claimed, find_pairs
from facekp.data.prepare.convert import Face, Prepared, convert, read_back
from facekp.data.prepare.official import MIN_SIDE, list_images, list_masks, read_mapping
from facekp.data.prepare.problems import LEAVES_OUT, Kind, Problem, name_few
from facekp.data.prepare.summary import SUMMARY, DataSummary, summarise
from facekp.data.prepare.workers import run_in_processes
from facekp.errors import DataError, one_line_errors, require
from facekp.files import ANOTHER, expand, replacing, require_space, writing

T = TypeVar("T")

BYTES_PER_PIXEL = 0.35
"""What an image and its label take on disk, generously: measured at 512 pixels 0.26 on real faces, 0.30 on drawn."""
BYTES_PER_PAIR = 8192
"""Two files end in the middle of a block of the disk."""


@dataclass(frozen=True)
class Preparation:
    """What a call of `prepare` did.

    Attributes:
        out: the prepared folder.
        summary: what it holds; None where it was complete before and has no summary.json.
        images: how many.
        written: how many of them were not there before.
        seconds: time it took.
    """

    out: Path
    summary: DataSummary | None
    images: int
    written: int
    seconds: float

    @property
    def text(self) -> str:
        """Images, splits and speed in a line, and below it the summary."""
        sizes = self.summary.splits.items() if self.summary else ()
        splits = f" ({', '.join(f'{name} {count}' for name, count in sizes)})" if self.summary else ""
        speed = f"{self.written} written in {self.seconds:.1f} s, {self.written / self.seconds:.1f} images/s"
        done = speed if self.written else "nothing was left to do"
        first = f"{self.out} holds {self.images} images{splits}: {done}"
        return "\n".join([first, self.summary.text] if self.summary else [first])


def prepare(
    raw: Path, out: Path, *, size: int = 512, workers: int | None = None, skip_bad: bool = False
) -> Preparation:
    """Write the prepared layout of the official folder `raw` to `out`; what is there already is kept.

    Args:
        raw: the official folder; a part of the images will do.
        out: the folder to write, made where it is not there.
        size: pixels; side of the prepared images and labels.
        workers: processes; None takes one a core.
        skip_bad: leave out images that cannot be prepared (see `problems.py`). Otherwise they are an error, raised once
            all others are written.

    Raises:
        ConfigError: a size or a number of workers out of range.
        DataError: a source that is missing, incomplete or damaged, or an `out` that cannot be written, has no room, or
            was made from another source.
    """
    started = time.perf_counter()
    require("size", size, size >= MIN_SIDE, f"give at least {MIN_SIDE} pixels, such as 512")
    require("workers", workers, workers is None or workers >= 1, "give at least 1, or null for one a core")
    if recognise(raw, setting="raw") == "prepared":
        raise DataError(f"raw is '{raw}', which is prepared already ({INDEX} is there): train with data.root={raw}")
    known = read_mapping(raw / OFFICIAL_MAPPING)
    images = list_images(raw, known)
    written = 0
    with claimed(out, raw, size):
        summary = DataSummary.read(out)
        left_out = summary.left_out if summary else ()
        if not _is_complete(out, _splits(images, known, left_out)):
            faces, problems = _pair(raw, images, known, skip_bad=skip_bad)
            prepared, written = _write_faces(faces, out, size, workers)
            summary = _sum_up(prepared, images, known, problems)
            summary.write(out)
            _require_whole(summary, raw, out, skip_bad=skip_bad)
            left_out = summary.left_out
            _remove_leftovers(out)
            with replacing(out / INDEX) as part:
                part.write_text(_index(_splits(images, known, left_out)), encoding="utf-8")
    return Preparation(out, summary, len(images) - len(left_out), written, time.perf_counter() - started)


def _splits(images: dict[int, Path], known: dict[int, str], left_out: Sequence[int]) -> dict[int, str]:
    without = set(left_out)
    return {index: known[index] for index in images if index not in without}


def _is_complete(out: Path, splits: dict[int, str]) -> bool:
    path = out / INDEX
    if not path.is_file():
        return False
    if path.read_text(encoding="utf-8") != _index(splits):
        raise DataError(
            f"{path}: lists other images or splits than the source has now; remove this file to prepare what is "
            f"missing, or {ANOTHER}"
        )
    return True


def _index(splits: dict[int, str]) -> str:
    return "id,split\n" + "".join(f"{index:05d},{split}\n" for index, split in splits.items())


def _pair(
    raw: Path, images: dict[int, Path], known: dict[int, str], *, skip_bad: bool
) -> tuple[list[Face], list[Problem]]:
    """Bring images and masks together; return the faces that have both, and what is wrong with the rest.

    Raises:
        DataError: images without masks, unless they may be left out; or no face at all.
    """
    masks, problems = list_masks(raw)
    bare = [path for index, path in images.items() if index not in masks]
    if bare and (not skip_bad or len(bare) == len(images)):
        # At once, not after an hour: most often a folder of masks was not unpacked.
        raise DataError(
            f"image {bare[0]}: image without label (no mask file {int(bare[0].stem):05d}_*.png), as {len(bare)} of "
            f"{len(images)} images are; unpack the masks again, remove the images, or leave them out with skip_bad=true"
        )
    problems += [Problem(Kind.NO_MASK, path.relative_to(raw).as_posix()) for path in bare]
    problems += [Problem(Kind.NOT_THERE, f"{OFFICIAL_IMAGES}/{i}.jpg") for i in known if i not in images]
    problems += [Problem(Kind.NO_IMAGE, f"{OFFICIAL_MASKS}/*/{i:05d}_*.png") for i in masks if i not in images]
    return [Face(raw, i, path, masks[i]) for i, path in images.items() if i in masks], problems


def _write_faces(faces: list[Face], out: Path, size: int, workers: int | None) -> tuple[list[Prepared], int]:
    """Prepare every face that is not there yet; return all, and how many were not there."""
    there = find_pairs(out)
    again = [face for face in faces if face.id in there]
    require_space(out, (len(faces) - len(again)) * (size**2 * BYTES_PER_PIXEL + BYTES_PER_PAIR))
    for name in (IMAGES, LABELS):
        with writing(out / name):
            (out / name).mkdir(exist_ok=True)
    back = run_in_processes(partial(read_back, out=out), again, workers)
    done = {face.id: face for face in _progress(back, "reading what is there", len(again)) if face}
    left = [face for face in faces if face.id not in done]
    new = run_in_processes(partial(convert, out=out, size=size), left, workers)
    written = 0
    for face in _progress(new, "preparing", len(faces), len(done)):
        done[face.id] = face
        written += face.pixels is not None
    return [done[face.id] for face in faces], written


def _progress(things: Iterator[T], what: str, total: int, done: int = 0) -> Iterator[T]:
    """Show images/s and the time left, on a terminal twice a second and in a log every ten seconds."""
    interval = 0.5 if sys.stderr.isatty() else 10
    bar = tqdm(things, what, total, unit=" images", initial=done, mininterval=interval, disable=done == total)
    yield from bar


def _sum_up(
    prepared: list[Prepared], images: dict[int, Path], known: dict[int, str], problems: list[Problem]
) -> DataSummary:
    whole = {face.id: face.pixels for face in prepared if face.pixels is not None}
    pixels = np.array(list(whole.values()), dtype=np.int64).reshape(-1, NUM_CLASSES)
    found = [problem for face in prepared for problem in face.problems]
    return summarise((known[i] for i in whole), pixels, images.keys() - whole.keys(), problems + found)


def _require_whole(summary: DataSummary, raw: Path, out: Path, *, skip_bad: bool) -> None:
    bad = [problem for problem in summary.problems if problem.kind in LEAVES_OUT]
    if bad and not (skip_bad and summary.classes):
        raise DataError(
            f"folder '{raw}': {len(bad)} of its images cannot be prepared, all others are: {name_few(bad)}; put these "
            f"right or remove the images, and start again, or leave them out: python -m facekp.data.prepare raw={raw} "
            f"out={out} skip_bad=true ({SUMMARY} names all)"
        )


def _remove_leftovers(out: Path) -> None:
    """Remove what killed runs had begun."""
    for part in (part for name in (IMAGES, LABELS) for part in (out / name).glob(".*.part")):
        part.unlink(missing_ok=True)


@dataclass
class PrepareSettings:
    """The settings of the command."""

    raw: str = field(default=MISSING, metadata={"help": "official CelebAMask-HQ folder, as downloaded"})
    out: str = field(default=MISSING, metadata={"help": "folder to write: images/, labels/, index.csv"})
    size: int = field(default=512, metadata={"help": "side of the prepared images, pixels"})
    workers: int | None = field(default=None, metadata={"help": "processes; null takes one a core"})
    skip_bad: bool = field(default=False, metadata={"help": "leave out images that are damaged or have no mask"})


def main(argv: Sequence[str]) -> None:
    """Prepare a data set and print what it holds."""
    about = "Turns the official CelebAMask-HQ folder into the one that training reads. Goes on where it was stopped."
    settings = parse_cli(PrepareSettings, argv, program="python -m facekp.data.prepare", about=about)
    raw, out = expand(settings.raw), expand(settings.out)
    done = prepare(raw, out, size=settings.size, workers=settings.workers, skip_bad=settings.skip_bad)
    print(done.text)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

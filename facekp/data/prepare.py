"""From the official CelebAMask-HQ folder to the prepared one: `python -m facekp.data.prepare raw=... out=...`.

The result appears file by file, each complete when it appears, and `index.csv` last: where it is, all is there.
A run that was stopped goes on where it stood.
"""

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from omegaconf import MISSING
from tqdm import tqdm

from facekp.attributes import ATTRIBUTES, NUM_CLASSES
from facekp.cli import parse_cli
from facekp.config import expand, require
from facekp.data.layout import IMAGES, INDEX, LABELS, OFFICIAL_MAPPING, SPLITS, recognise
from facekp.data.official import MIN_SIDE, composite, list_images, list_masks, load_image, read_mapping
from facekp.errors import DataError, one_line_errors
from facekp.folder import ANOTHER, only_one, replacing, require_space, writing
from facekp.images import read_label, write_label

SOURCE = "source.json"
"""Says what a prepared folder was made from."""

JPEG_QUALITY = 95
BYTES_PER_PIXEL = 0.35
"""What an image and its label take on disk, generously: measured 0.25 on faces at 512 pixels."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PreparationSummary:
    """What a preparation did.

    Attributes:
        out: the prepared folder.
        splits: number of images of each split.
        written: number of images that were not there before.
        seconds: time it took.
        pixels: (images, 19) int64, pixels of each class in each image; no rows where all was there already.
    """

    out: Path
    splits: dict[str, int]
    written: int
    seconds: float
    pixels: Counts

    @property
    def headline(self) -> str:
        """Images, splits and speed in one line."""
        images = sum(self.splits.values())
        splits = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        speed = f"{self.written} written in {self.seconds:.1f} s, {self.written / self.seconds:.1f} images/s"
        return f"{self.out} holds {images} images ({splits}): {speed if self.written else 'nothing was left to do'}"

    def table(self) -> str:
        """Each class's share of all pixels, and the share of images that have it."""
        pixels = self.pixels.sum(axis=0) / self.pixels.sum()
        images = (self.pixels > 0).mean(axis=0)
        rows = zip(ATTRIBUTES, pixels, images, strict=True)
        return "\n".join(["class        pixels   images", *(f"{n:<10} {p:>8.3%} {i:>8.2%}" for n, p, i in rows)])


def prepare(raw: Path, out: Path, *, size: int = 512, workers: int | None = None) -> PreparationSummary:
    """Write the prepared layout of the official folder `raw` to `out`; what is there already is kept.

    Args:
        raw: the official folder; a part of the images will do.
        out: the folder to write, made where it is not there.
        size: pixels; side of the prepared images and labels.
        workers: threads; None takes one a core.

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
    splits = {index: known[index] for index in images}
    pixels, written = np.empty((0, NUM_CLASSES), dtype=np.int64), 0
    with _claimed(out, _identify(raw, size)):
        if not _is_complete(out, splits):
            masks = _require_masks(images, list_masks(raw))
            written = len(images.keys() - _finished(out))
            require_space(out, written * size**2 * BYTES_PER_PIXEL)
            pixels = _write_faces(images, masks, out, size, workers or os.cpu_count() or 1)
            with replacing(out / INDEX) as part:
                part.write_text(_index(splits), encoding="utf-8")
    sizes = Counter(splits.values())
    seconds = time.perf_counter() - started
    return PreparationSummary(out, {split: sizes[split] for split in SPLITS}, written, seconds, pixels)


def _identify(raw: Path, size: int) -> dict[str, str | int]:
    """Tell a source from others by its place and its mapping.

    Not by its images: whoever puts a damaged one right, or leaves it out, may go on with the same folder.
    """
    digest = hashlib.sha256((raw / OFFICIAL_MAPPING).read_bytes())
    return {"raw": str(raw.resolve()), "size": size, "mapping": digest.hexdigest()}


@contextmanager
def _claimed(out: Path, source: dict[str, str | int]) -> Iterator[None]:
    """Make `out` this source's own, with one process at a time in it."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with only_one(out):
        path = out / SOURCE
        if (out / INDEX).exists() or _finished(out):
            _require_same(path, source)
        with replacing(path) as part:
            part.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
        yield


def _require_same(path: Path, source: dict[str, str | int]) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = f"'{found['raw']}' at {found['size']} pixels"
    except FileNotFoundError:
        raise DataError(f"folder '{path.parent}': holds images that prepare did not write; {ANOTHER}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read; remove folder '{path.parent}', or {ANOTHER}") from error
    if found != source:
        now = f"'{source['raw']}' at {source['size']} pixels"
        how = f"not from {now}" if before != now else "whose mapping has changed since"
        raise DataError(f"folder '{path.parent}': was prepared from {before}, {how}; remove it, or {ANOTHER}")


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


def _finished(out: Path) -> set[int]:
    """Return the ids whose image and label are both there."""
    images, labels = ({path.stem for path in (out / name).glob("[0-9]*")} for name in (IMAGES, LABELS))
    return {int(stem) for stem in images & labels if stem.isdecimal()}


def _require_masks(images: dict[int, Path], masks: dict[int, dict[int, Path]]) -> dict[int, dict[int, Path]]:
    bare = [index for index in images if index not in masks]
    if bare:
        raise DataError(
            f"image {images[bare[0]]}: image without label (no mask file {bare[0]:05d}_*.png), as {len(bare)} of "
            f"{len(images)} images are; unpack the masks again, or remove the images"
        )
    return masks


def _write_faces(
    images: dict[int, Path], masks: dict[int, dict[int, Path]], out: Path, size: int, workers: int
) -> Counts:
    """Write every pair that is not there; return (images, 19) int64, the pixels of each class."""
    for name in (IMAGES, LABELS):
        with writing(out / name):
            (out / name).mkdir(exist_ok=True)
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # they would fight ours for the cores
    # Threads, not processes: nearly all of the work is C code outside Python's lock. Processes would import train.py's
    # torch (spawn) or copy it while it runs (fork), and stay behind when the run is killed.
    pool = ThreadPoolExecutor(workers)
    try:
        counts = pool.map(lambda index: _write_face(images[index], masks[index], out, f"{index:05d}", size), images)
        interval = 0.5 if sys.stderr.isatty() else 10
        return np.stack(list(tqdm(counts, "preparing", len(images), unit=" images", mininterval=interval)))
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(opencv_threads)


def _write_face(image: Path, masks: dict[int, Path], out: Path, name: str, size: int) -> Counts:
    to_image, to_label = out / IMAGES / f"{name}.jpg", out / LABELS / f"{name}.png"
    if to_image.is_file() and to_label.is_file():
        label = read_label(to_label)
    else:
        bgr, label = cv2.cvtColor(load_image(image, size), cv2.COLOR_RGB2BGR), composite(masks, size)
        with replacing(to_image) as part:
            part.write_bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
        with replacing(to_label) as part:
            write_label(part, label)
    counts: Counts = np.bincount(label.ravel(), minlength=NUM_CLASSES)[:NUM_CLASSES]
    return counts


@dataclass
class PrepareSettings:
    """The settings of the command."""

    raw: str = field(default=MISSING, metadata={"help": "official CelebAMask-HQ folder, as downloaded"})
    out: str = field(default=MISSING, metadata={"help": "folder to write: images/, labels/, index.csv"})
    size: int = field(default=512, metadata={"help": "side of the prepared images, pixels"})
    workers: int | None = field(default=None, metadata={"help": "threads; null takes one a core"})


def main(argv: Sequence[str]) -> None:
    """Prepare a data set and print what it holds."""
    about = "Turns the official CelebAMask-HQ folder into the one that training reads. Goes on where it was stopped."
    settings = parse_cli(PrepareSettings, argv, program="python -m facekp.data.prepare", about=about)
    summary = prepare(expand(settings.raw), expand(settings.out), size=settings.size, workers=settings.workers)
    print(summary.headline)
    if len(summary.pixels):
        print(summary.table())


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

"""Preparation in processes and in threads, on faces stored as CelebAMask-HQ is: `python -m benchmarks.preparation`."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from facekp.cli import parse_cli
from facekp.data.layout import IMAGES, LABELS, OFFICIAL_IMAGES, OFFICIAL_MASKS
from facekp.data.prepare.build import run_in_processes
from facekp.data.prepare.convert import Face, Prepared, convert
from facekp.data.prepare.official import list_images, list_masks
from facekp.data.synthetic.write import write_synthetic
from facekp.errors import one_line_errors, require
from facekp.files import expand, replacing, require_space

SIZE = 512
WHOLE = 30_000
_BYTES_EACH = 300_000
"""Of a drawn face in both forms, and prepared: what is asked of the disk beforehand."""

Run = Callable[[Sequence[Face], Path], Iterator[Prepared]]


@dataclass
class Settings:
    """The settings of the command."""

    faces: int = field(default=2000, metadata={"help": "faces to draw and prepare"})
    workers: int | None = field(default=None, metadata={"help": "processes and threads; null takes one a core"})
    folder: str = field(default="~/.cache/facekp/preparation", metadata={"help": "where drawn faces are kept"})

    def __post_init__(self) -> None:
        """Check ranges."""
        require("faces", self.faces, self.faces >= 1, "give at least 1")
        require("workers", self.workers, self.workers is None or self.workers >= 1, "give at least 1, or null")


def store_as_downloaded(drawn: Path, out: Path, index: int) -> None:
    """Store a drawn face as CelebAMask-HQ is: an image of 1024 pixels, masks of 512 with three equal channels."""
    to_image = out / OFFICIAL_IMAGES / f"{index}.jpg"
    if to_image.is_file():
        return
    image = cv2.imread(str(drawn / OFFICIAL_IMAGES / f"{index}.jpg"))
    if image is None:
        raise FileNotFoundError(drawn / OFFICIAL_IMAGES / f"{index}.jpg")
    large = cv2.resize(image, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC)
    for path in drawn.glob(f"{OFFICIAL_MASKS}/*/{index:05d}_*.png"):
        target = out / path.relative_to(drawn)
        target.parent.mkdir(parents=True, exist_ok=True)
        mask = cv2.imread(str(path), cv2.IMREAD_COLOR)
        cv2.imwrite(str(target), np.asarray(mask))
    to_image.parent.mkdir(parents=True, exist_ok=True)
    with replacing(to_image) as part:
        part.write_bytes(cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes())


def in_threads(workers: int, faces: Sequence[Face], out: Path) -> Iterator[Prepared]:
    """Prepare in threads of this process."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(partial(convert, out=out, size=SIZE), faces)
    finally:
        cv2.setNumThreads(threads)


def in_processes(workers: int, faces: Sequence[Face], out: Path) -> Iterator[Prepared]:
    """Prepare as `facekp.data.prepare.build` does."""
    yield from run_in_processes(partial(convert, out=out, size=SIZE), faces, workers)


def measure(faces: Sequence[Face], run: Run) -> str:
    """Time a run: images/s, CPU time an image (its processes' included), and what 30,000 would take."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in (IMAGES, LABELS):
            (out / name).mkdir()
        cpu, wall = sum(os.times()[:4]), time.perf_counter()
        count = sum(face.pixels is not None for face in run(faces, out))
        wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
        size = sum(path.stat().st_size for path in out.rglob("*.*g")) / count
    return (
        f"{count / wall:6.1f} images/s, {1000 * cpu / count:5.1f} ms of CPU an image, {size / 1000:.1f} kB an image; "
        f"{WHOLE:,} images: {WHOLE / count * wall / 60:.0f} min"
    )


def main(argv: Sequence[str]) -> None:
    """Draw, store, and measure."""
    settings = parse_cli(Settings, argv, program="python -m benchmarks.preparation", about=__doc__ or "")
    folder, workers = expand(settings.folder), settings.workers or os.cpu_count() or 1
    drawn, stored = folder / f"drawn-{settings.faces}", folder / f"stored-{settings.faces}"
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, settings.faces * _BYTES_EACH)
    write_synthetic(drawn, {"train": settings.faces})
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(store_as_downloaded, drawn, stored), range(settings.faces)))
    for name, raw in (("as drawn (512 pixels, one channel)", drawn), ("as downloaded (1024, three channels)", stored)):
        images, masks = list_images(raw, dict.fromkeys(range(settings.faces), "train")), list_masks(raw)[0]
        faces = [Face(raw, index, path, masks[index]) for index, path in images.items()]
        runs: dict[str, Run] = {
            f"{workers} processes": partial(in_processes, workers), f"{workers} threads": partial(in_threads, workers)
        }  # fmt: skip
        for how, run in runs.items():
            print(f"{name}, {how}: {measure(faces, run)}", flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

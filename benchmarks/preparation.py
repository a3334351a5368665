"""Speed of preparing faces in processes and in threads: `python -m benchmarks.preparation`."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import run
from facekp.data.layout import IMAGES, LABELS, OFFICIAL_IMAGES, OFFICIAL_MASKS
from facekp.data.prepare.convert import Face, Prepared, convert
from facekp.data.prepare.official import list_images, list_masks
from facekp.data.prepare.workers import run_in_processes
from facekp.data.synthetic.write import write_synthetic
from facekp.files import expand, replacing, require_space
from facekp.images import read_image
from facekp.settings import Settings, at_least, setting

SIZE, WHOLE = 512, 30_000
BYTES_EACH = 300_000  # disk space of a drawn face in both forms and prepared


@dataclass
class Options(Settings):
    """Number and folder of the faces."""

    faces: int = setting(2000, "faces to draw and prepare", check=at_least(1))
    workers: int | None = setting(None, "processes and threads; null: one per core", check=at_least(1))
    folder: str = setting("~/.cache/facekp/preparation", "folder of the drawn faces")


def store_as_downloaded(drawn: Path, out: Path, index: int) -> None:
    """Store a drawn face as CelebAMask-HQ is: an image of 1024 pixels, masks of 512 with three equal channels."""
    target = out / OFFICIAL_IMAGES / f"{index}.jpg"
    if target.is_file():
        return
    for path in drawn.glob(f"{OFFICIAL_MASKS}/*/{index:05d}_*.png"):
        mask = out / path.relative_to(drawn)
        mask.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(mask), np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR)))
    image = read_image(drawn / OFFICIAL_IMAGES / f"{index}.jpg")[..., ::-1]
    large = cv2.resize(image, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        part.write_bytes(cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes())


def run_in_threads(function: Callable[[Face], Prepared], faces: Sequence[Face], workers: int) -> Iterator[Prepared]:
    """Prepare in threads of this process."""
    cv2.setNumThreads(0)
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(function, faces)
    cv2.setNumThreads(-1)


def measure(faces: Sequence[Face], run_all: Callable[..., Iterator[Prepared]], workers: int) -> str:
    """Return images/s, CPU time an image (its processes' included), and the time of 30,000 images."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in (IMAGES, LABELS):
            (out / name).mkdir()
        cpu, wall = sum(os.times()[:4]), time.perf_counter()
        count = sum(face.pixels is not None for face in run_all(partial(convert, out=out, size=SIZE), faces, workers))
        wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
        size = sum(path.stat().st_size for path in out.rglob("*.*g")) / count
    return (
        f"{count / wall:6.1f} images/s, {1000 * cpu / count:5.1f} ms of CPU an image, {size / 1000:.1f} kB an image; "
        f"{WHOLE:,} images: {WHOLE / count * wall / 60:.0f} min"
    )


def main(settings: Options) -> None:
    """Draw, store, and measure."""
    folder, workers = expand(settings.folder), settings.workers or os.cpu_count() or 1
    drawn, stored = folder / f"drawn-{settings.faces}", folder / f"stored-{settings.faces}"
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, settings.faces * BYTES_EACH)
    write_synthetic(drawn, {"train": settings.faces})
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(store_as_downloaded, drawn, stored), range(settings.faces)))
    for name, raw in (("as drawn (512 pixels, one channel)", drawn), ("as downloaded (1024, three channels)", stored)):
        images, masks = list_images(raw, dict.fromkeys(range(settings.faces), "train")), list_masks(raw)[0]
        faces = [Face(raw, index, path, masks[index]) for index, path in images.items()]
        for kind, prepare in (("processes", run_in_processes), ("threads", run_in_threads)):
            print(f"{name}, {workers} {kind}: {measure(faces, prepare, workers)}", flush=True)


if __name__ == "__main__":
    run(Options, main, __doc__)

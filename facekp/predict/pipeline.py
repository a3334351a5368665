"""Pipeline for many files: reading, the network and writing run concurrently."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import cv2
from tqdm import tqdm

from facekp.cli import Progress
from facekp.errors import DataError, is_out_of_memory, printable
from facekp.formats.base import Photo
from facekp.hardware import cpu_threads
from facekp.parsing.choices import Align
from facekp.parsing.inputs import to_array
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene, in_batches
from facekp.predict.results import PhotoError, Results
from facekp.predict.settings import ParserSettings
from facekp.predict.sources import Source, describe, is_video, output_names, stream_name

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")

PREFETCH: Final = 4  # images that may be read at once, and written, at least; more on more cores


@dataclass(frozen=True)
class Job:
    """A photo, video or stream to parse; see `facekp.formats.Photo`."""

    path: Source
    file: str
    stem: Path


def list_jobs(sources: Sequence[Source], out: Path) -> list[Job]:
    """Return a job for each file or stream, with its results in the folder `out`."""
    files = [source for source in sources if isinstance(source, Path)]
    streams = [Job(url, url, out / stream_name(url)) for url in sources if isinstance(url, str)]
    if not files:
        return streams
    root = os.path.commonpath([path.parent for path in files])
    names = output_names(files)
    found = [Job(path, path.relative_to(root).as_posix(), out / name) for path, name in zip(files, names, strict=True)]
    return found + streams


def open_parser(settings: ParserSettings, device: str) -> FaceParser:
    """Open the checkpoint in the settings on a device."""
    s = settings
    return FaceParser.from_checkpoint(
        s.ckpt, device=device, backend=s.backend, keypoints=s.keypoints, detector=s.detector, tta=s.tta
    )


def parse_files(
    parser: FaceParser, jobs: Sequence[Job], results: Results, align: Align = "none", *, progress: bool = True
) -> list[str]:
    """Parse photos, write their results, and return a message for each that was skipped.

    Unreadable files, and photos that a format or the memory cannot hold, are reported and skipped; photos without a
    face are reported. A few photos are in memory at a time. The caller claims and finishes `results`. For `align` see
    `FaceParser`.
    """
    failures: list[str] = []
    bar = Progress(total=len(jobs), unit="image", desc="parsing", disable=not progress or len(jobs) <= 1)

    def read(job: Job) -> tuple[Job, Scene] | DataError:
        try:
            longest = 255 - len("..1234567.part")  # bytes, so that the name of a temporary file is valid
            if len(os.fsencode(job.stem.name)) + results.longest_ending > longest:
                raise DataError(f"image {job.path}: the names of its results would be too long; rename it")
            with enough_memory(job.path):
                return job, parser.stages.look(to_array(job.path), align)
        except DataError as error:
            return error

    def good(photos: Iterable[tuple[Job, Scene] | DataError]) -> Iterator[tuple[Job, Scene]]:
        for photo in photos:
            if isinstance(photo, DataError):
                skip(photo)
                bar.update()
            else:
                yield photo

    def skip(error: DataError) -> None:
        failures.append(str(error))
        tqdm.write(f"skipped: {printable(str(error))}", file=sys.stderr)

    def write(parsed: tuple[Job, Scene]) -> None:
        job, scene = parsed
        try:
            with enough_memory(job.path):
                faces = parser.stages.trace(scene)
            if not faces:
                tqdm.write(f"no face: {printable(str(job.path))}", file=sys.stderr)
            results.write(Photo(Path(job.path), job.file, job.stem, scene.image), faces)
        except PhotoError as error:
            skip(error)

    with bar, Workers(min(parser.stages.backend.streams, len(jobs))) as pool:
        parsed = run_network(pool, parser, good(pool.prefetch(read, jobs)), lambda job: job.path)
        for _ in pool.prefetch(write, good(parsed)):
            bar.update()
    return failures


@contextmanager
def enough_memory(path: Source) -> Iterator[None]:
    """Turn an error of too little memory into that of one photo or video."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(path, error) from error


def out_of_memory(path: Source, error: Exception) -> PhotoError:
    """Return the error of a photo or video that an error of too little memory stopped."""
    name = describe(path) if is_video(path) else f"image {path}"
    remedy = "use device=cpu" if "CUD" in str(error) else "reduce it"  # CUDA, CUDNN
    return PhotoError(f"{name}: memory does not suffice for it; free some, or {remedy}")


class Workers(ThreadPoolExecutor):
    """Threads for the network and three other stages; on an error, work that has not begun is dropped.

    If the network runs in several threads (`streams`), torch and OpenCV use one thread per call.
    """

    def __init__(self, streams: int) -> None:
        self._streams, self._before = streams, (cpu_threads(), cv2.getNumThreads())
        self._ahead = max(PREFETCH, self._before[0])
        super().__init__(3 * self._ahead + streams)
        self._set_threads(1, 1)

    def __exit__(self, *error: object) -> None:
        self.shutdown(cancel_futures=True)
        self._set_threads(*self._before)

    def _set_threads(self, of_torch: int, of_opencv: int) -> None:
        if self._streams > 1:
            import torch  # not before it is used: a photo parsed by onnxruntime needs no torch

            torch.set_num_threads(of_torch)
            cv2.setNumThreads(of_opencv)

    def prefetch(self, function: Callable[[T], R], items: Iterable[T], *, network: bool = False) -> Iterator[R]:
        """Yield `function` of each item in order; a few calls are in progress, or one in each thread of the network."""
        count = self._streams if network else self._ahead
        pending: deque[Future[R]] = deque()
        for item in items:
            if len(pending) == count:
                yield pending.popleft().result()
            pending.append(self.submit(function, item))
        while pending:
            yield pending.popleft().result()


def run_network(
    pool: Workers, parser: FaceParser, opened: Iterable[tuple[S, Scene]], path: Callable[[S], Source]
) -> Iterator[tuple[S, Scene] | DataError]:
    """Run the network on scenes, in batches, and yield them in order with the scores of their faces.

    On a CPU several threads run it, each on one image; on a GPU one thread runs it, on batches. What memory does not
    suffice for, even alone, is yielded as an error that names its `path`.
    """

    def run(batch: Sequence[tuple[S, Scene]]) -> list[tuple[S, Scene] | DataError]:
        try:
            parsed = parser.stages.parse([scene for _, scene in batch])
            return [(source, scene) for (source, _), scene in zip(batch, parsed, strict=True)]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                return [out_of_memory(path(batch[0][0]), error)]
        # Not in `except`, where the error would hold what fills the memory.
        return [result for alone in batch for result in run([alone])]

    for batch in pool.prefetch(run, in_batches(opened, parser.stages.backend.batch), network=True):
        yield from batch

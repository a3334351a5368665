"""Parsing many files: reading, the network, and tracing and writing go on at the same time."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TypeVar

import cv2
import torch
from tqdm import tqdm

from facekp.errors import DataError
from facekp.parser import Align, FaceParser, Photo, to_array
from facekp.prediction import output_names, write_faces

T = TypeVar("T")
R = TypeVar("R")

LOOK_AHEAD = 4
"""Images that are being read, and images that are being written, at a time."""


@dataclass(frozen=True)
class Job:
    """One image to parse, and where its results go: folder and name."""

    path: Path
    stem: Path


@dataclass(frozen=True)
class Opened:
    """An image that was read, with the views of it that the network sees."""

    job: Job
    photo: Photo


@dataclass
class Outcome:
    """What came of many images.

    Attributes:
        skipped: one message for each image that could not be read.
        faceless: the images that show no face.
    """

    skipped: list[str] = field(default_factory=list)
    faceless: list[Path] = field(default_factory=list)

    def skip(self, reason: DataError) -> None:
        """Note an image that cannot be read, and tell it."""
        self.skipped.append(str(reason))
        tqdm.write(f"skipped: {reason}", file=sys.stderr)

    def note(self, written: Opened) -> None:
        """Note an image whose results are written, and tell it where it shows no face."""
        if not written.photo.views:
            self.faceless.append(written.job.path)
            tqdm.write(f"no face: {written.job.path}", file=sys.stderr)


def list_jobs(images: Sequence[Path], out: Path) -> list[Job]:
    """Return what is to be done for `images`, with the results in `out`."""
    return [Job(path, out / name) for path, name in zip(images, output_names(images), strict=True)]


def parse_files(parser: FaceParser, jobs: Sequence[Job], *, align: Align = "none", overlay: bool = True) -> Outcome:
    """Parse every image and write its results; a file that cannot be read is told and skipped.

    A few images are under way at a time, so memory does not grow with their number.

    Args:
        parser: what parses.
        jobs: what is parsed.
        align: whether faces are looked for, see `FaceParser`.
        overlay: whether the overlay is written.
    """
    outcome = Outcome()
    bar = tqdm(total=len(jobs), unit="image", desc="parsing", disable=len(jobs) == 1)

    def read(job: Job) -> Opened | DataError:
        return open_image(parser, job, align)

    def readable(images: Iterable[Opened | DataError]) -> Iterator[Opened]:
        for one in images:
            if isinstance(one, Opened):
                yield one
            else:
                outcome.skip(one)
                bar.update()

    def run(batch: Sequence[Opened]) -> list[Opened]:
        return run_batch(parser, batch, align)

    def finish(parsed: Opened) -> Opened:
        return finish_image(parser, parsed, overlay=overlay)

    streams = min(parser.backend.streams, len(jobs))
    pools = (ThreadPoolExecutor(n) for n in (LOOK_AHEAD, streams, LOOK_AHEAD))
    with bar, _one_thread_each(streams), ExitStack() as stack:
        readers, runners, writers = (stack.enter_context(pool) for pool in pools)
        batches = in_batches(readable(_ahead(readers, read, jobs)), parser.backend.batch)
        for written in _ahead(writers, finish, chain.from_iterable(_ahead(runners, run, batches))):
            outcome.note(written)
            bar.update()
    return outcome


@contextmanager
def _one_thread_each(streams: int) -> Iterator[None]:
    """Let torch and OpenCV work on one thread a call meanwhile, where several calls go on at a time."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    if streams > 1:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def open_image(parser: FaceParser, job: Job, align: Align) -> Opened | DataError:
    """Read one image and bring what may be a face to the network's size, or return why it cannot be read."""
    try:
        image = to_array(job.path)
    except DataError as error:
        return error
    return Opened(job, parser.look(image, align))


def in_batches(images: Iterable[Opened], size: int) -> Iterator[list[Opened]]:
    """Yield up to `size` images at a time that follow each other and are as large as one another for the network."""
    for _, alike in groupby(images, key=lambda one: one.photo.views[0].pixels.shape):
        while batch := list(islice(alike, size)):
            yield batch


def run_batch(parser: FaceParser, batch: Sequence[Opened], align: Align) -> list[Opened]:
    """Return each image with the scores of its faces."""
    photos = parser.run([one.photo for one in batch], align)
    return [replace(one, photo=photo) for one, photo in zip(batch, photos, strict=True)]


def finish_image(parser: FaceParser, parsed: Opened, *, overlay: bool) -> Opened:
    """Turn an image's scores into faces, write them, and return the image."""
    faces = parser.faces(parsed.photo)
    write_faces(parsed.job.stem, parsed.photo.image, faces, parsed.job.path, overlay=overlay)
    return parsed


def _ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `function` of each item in order, with a few of them under way in `pool`."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > LOOK_AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()

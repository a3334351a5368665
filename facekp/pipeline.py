"""Parsing many files: reading, the network, and tracing and writing go on at the same time."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
import torch
from tqdm import tqdm

from facekp.errors import DataError
from facekp.formats import Photo
from facekp.images import UInt8Array
from facekp.inputs import to_array
from facekp.parser import FaceParser
from facekp.prediction import output_names
from facekp.results import Results
from facekp.upsample import Scores


class Prepared(Protocol):
    """Something with an image as the network sees it."""

    @property
    def prepared(self) -> UInt8Array:
        """Return the image, (H, W, 3) uint8 RGB."""


T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P", bound=Prepared)

LOOK_AHEAD = 4
"""Images that are being read, and images that are being written, at a time."""


@dataclass(frozen=True)
class Job:
    """One image to parse; see `facekp.formats.Photo`."""

    path: Path
    file: str
    stem: Path


@dataclass(frozen=True)
class Opened:
    """An image that was read, (H, W, 3) uint8 RGB: as it is, and as the network sees it."""

    job: Job
    image: UInt8Array
    prepared: UInt8Array


def list_jobs(images: Sequence[Path], out: Path) -> list[Job]:
    """Return what is to be done for `images`, with the results in `out`."""
    root = os.path.commonpath([path.parent for path in images])
    return [
        Job(path, path.relative_to(root).as_posix(), out / name)
        for path, name in zip(images, output_names(images), strict=True)
    ]


def parse_files(parser: FaceParser, jobs: Sequence[Job], results: Results) -> list[str]:
    """Parse every image and write its results; a file that cannot be read is told and skipped.

    A few images are under way at a time, so memory does not grow with their number.

    Args:
        parser: what parses.
        jobs: what is parsed.
        results: what writes the faces; it is left to the caller to finish it.

    Returns:
        One message for each image that was skipped.
    """
    failures: list[str] = []
    bar = tqdm(total=len(jobs), unit="image", desc="parsing", disable=len(jobs) == 1)

    def read(job: Job) -> Opened | DataError:
        return open_image(parser, job)

    def readable(images: Iterable[Opened | DataError]) -> Iterator[Opened]:
        for one in images:
            if isinstance(one, Opened):
                yield one
            else:
                failures.append(str(one))
                tqdm.write(f"skipped: {one}", file=sys.stderr)
                bar.update()

    def run(batch: Sequence[Opened]) -> list[tuple[Opened, list[Scores]]]:
        return run_batch(parser, batch)

    def finish(parsed: tuple[Opened, list[Scores]]) -> None:
        finish_image(parser, *parsed, results)

    streams = min(parser.backend.streams, len(jobs))
    pools = (ThreadPoolExecutor(n) for n in (LOOK_AHEAD, streams, LOOK_AHEAD))
    with bar, one_thread_each(streams), ExitStack() as stack:
        readers, runners, writers = (stack.enter_context(pool) for pool in pools)
        batches = in_batches(readable(ahead(readers, read, jobs)), parser.backend.batch)
        for _ in ahead(writers, finish, chain.from_iterable(ahead(runners, run, batches))):
            bar.update()
    return failures


@contextmanager
def one_thread_each(streams: int) -> Iterator[None]:
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


def open_image(parser: FaceParser, job: Job) -> Opened | DataError:
    """Read one image and bring it to the network's size, or return why it cannot be read."""
    try:
        image = to_array(job.path)
    except DataError as error:
        return error
    return Opened(job, image, parser.prepare(image))


def in_batches(images: Iterable[P], size: int) -> Iterator[list[P]]:
    """Yield up to `size` images at a time that follow each other and are as large as one another for the network."""
    for _, alike in groupby(images, key=lambda one: one.prepared.shape):
        while batch := list(islice(alike, size)):
            yield batch


def run_batch(parser: FaceParser, batch: Sequence[P]) -> list[tuple[P, list[Scores]]]:
    """Return each image with its score maps (h, w, 19)."""
    maps = parser.backend(np.stack([one.prepared for one in batch]))
    return [(one, [m[i] for m in maps]) for i, one in enumerate(batch)]


def finish_image(parser: FaceParser, opened: Opened, scores: Sequence[Scores], results: Results) -> None:
    """Turn an image's score maps into a face and write it."""
    face = parser.face(scores, (opened.image.shape[0], opened.image.shape[1]))
    results.write(Photo(opened.job.path, opened.job.file, opened.job.stem, opened.image), [face])


def ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `function` of each item in order, with a few of them under way in `pool`."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > LOOK_AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()

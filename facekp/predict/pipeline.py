"""Parsing many files: reading, the network, and tracing and writing go on at the same time."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import cv2
import torch
from tqdm import tqdm

from facekp.errors import DataError
from facekp.formats import Photo
from facekp.parsing.choices import Align
from facekp.parsing.inputs import to_array
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene, in_batches
from facekp.predict.results import Results
from facekp.predict.sources import output_names

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P", bound="Opened")

LOOK_AHEAD = 4
"""Images that are being read, and images that are being written, at a time."""
LONGEST_NAME = 255 - len("..annotations.json.part")
"""Bytes of a result's name, so that what is made of it is a file's."""


@dataclass(frozen=True)
class Job:
    """One image to parse; see `facekp.formats.Photo`."""

    path: Path
    file: str
    stem: Path


@dataclass(frozen=True)
class Opened:
    """Something that was read, as the network sees it."""

    scene: Scene


@dataclass(frozen=True)
class OpenedPhoto(Opened):
    """A photo that was read."""

    job: Job


def list_jobs(images: Sequence[Path], out: Path) -> list[Job]:
    """Return what is to be done for `images`, with the results in `out`."""
    root = os.path.commonpath([path.parent for path in images])
    return [
        Job(path, path.relative_to(root).as_posix(), out / name)
        for path, name in zip(images, output_names(images), strict=True)
    ]


def parse_files(parser: FaceParser, jobs: Sequence[Job], results: Results, align: Align = "none") -> list[str]:
    """Parse every image and write its results; a file that cannot be read is told and skipped, one without faces told.

    A few images are under way at a time, so memory does not grow with their number.

    Args:
        parser: what parses.
        jobs: what is parsed.
        results: what writes the faces; it is left to the caller to finish it.
        align: whether faces are looked for, see `FaceParser`.

    Returns:
        One message for each image that was skipped.
    """
    failures: list[str] = []
    bar = tqdm(total=len(jobs), unit="image", desc="parsing", disable=len(jobs) == 1)

    def read(job: Job) -> OpenedPhoto | DataError:
        return open_image(parser, job, align)

    def readable(images: Iterable[OpenedPhoto | DataError]) -> Iterator[OpenedPhoto]:
        for one in images:
            if isinstance(one, OpenedPhoto):
                yield one
            else:
                failures.append(str(one))
                tqdm.write(f"skipped: {one}", file=sys.stderr)
                bar.update()

    def finish(photo: OpenedPhoto) -> None:
        finish_image(parser, photo, results)

    streams = min(parser.stages.backend.streams, len(jobs))
    pools = (ThreadPoolExecutor(n) for n in (LOOK_AHEAD, streams, LOOK_AHEAD, LOOK_AHEAD))
    with bar, one_thread_each(streams), ExitStack() as stack:
        readers, runners, refiners, writers = (stack.enter_context(pool) for pool in pools)
        images = readable(ahead(readers, read, jobs))
        for _ in ahead(writers, finish, parsed(parser, images, align, runners, refiners)):
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


def open_image(parser: FaceParser, job: Job, align: Align) -> OpenedPhoto | DataError:
    """Read one image and bring what may be faces to the network's size, or return why it has to be skipped."""
    if len(os.fsencode(job.stem.name)) > LONGEST_NAME:
        return DataError(f"image {job.path}: the names of its results would be too long; rename it")
    try:
        image = to_array(job.path)
    except DataError as error:
        return error
    return OpenedPhoto(parser.stages.look(image, align), job)


def parsed(parser: FaceParser, images: Iterable[P], align: Align, runners: Executor, refiners: Executor) -> Iterator[P]:
    """Yield images with the scores of their faces, in order; a few are in each stage at a time.

    Args:
        parser: what parses.
        images: with the views that `FaceParser.look` gave.
        align: the same as for `look`.
        runners: where the network runs.
        refiners: where faces are framed anew between its two runs.
    """

    def run(batch: Sequence[P]) -> list[P]:
        return with_scenes(batch, parser.stages.score([one.scene for one in batch]))

    def refine(one: P) -> P:
        return replace(one, scene=parser.stages.align(one.scene))

    def seen(these: Iterable[P]) -> Iterator[P]:
        return chain.from_iterable(ahead(runners, run, in_batches(these, parser.stages.backend.batch, shape_of)))

    return seen(images) if align == "none" else seen(ahead(refiners, refine, seen(images)))


def shape_of(image: Opened) -> tuple[int, ...]:
    """Return the shape of what the network sees of an image."""
    return image.scene.shape


def with_scenes(batch: Sequence[P], scenes: Sequence[Scene]) -> list[P]:
    """Return the images of a batch with these scenes."""
    return [replace(one, scene=scene) for one, scene in zip(batch, scenes, strict=True)]


def finish_image(parser: FaceParser, photo: OpenedPhoto, results: Results) -> None:
    """Turn a photo's scores into faces and write them; none is told."""
    job, faces = photo.job, parser.stages.trace(photo.scene)
    if not faces:
        tqdm.write(f"no face: {job.path}", file=sys.stderr)
    results.write(Photo(job.path, job.file, job.stem, photo.scene.image), faces)


def ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `function` of each item in order, with a few of them under way in `pool`."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > LOOK_AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()

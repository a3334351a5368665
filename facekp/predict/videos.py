"""Parsing videos: reading, the network, tracing, drawing and writing go on at the same time."""

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice, repeat, takewhile
from typing import Final

import numpy as np
import orjson
from tqdm import tqdm

from facekp.errors import DataError
from facekp.files import replacing
from facekp.images import UInt8Array
from facekp.parsing.choices import Align
from facekp.parsing.face import SCHEMA, Face
from facekp.parsing.inputs import MIN_SIDE
from facekp.parsing.overlay import draw_overlay
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene
from facekp.predict.pipeline import LOOK_AHEAD, Job, Opened, ahead, one_thread_each, parsed
from facekp.predict.sources import CLIP, LINES
from facekp.predict.tracking import FaceTracks, OneEuroConfig, TrackedFace
from facekp.predict.video_io import Frame, VideoReader, VideoWriter

NOTHING: Final = Scene(np.empty((0, 0, 3), np.uint8))
"""What is seen of a broken frame."""
TOLD: Final = 10
"""Broken frames that are told by their numbers."""
TIME_DECIMALS: Final = 6


@dataclass(frozen=True)
class _Opened(Opened):
    """A frame that was read, or is broken."""

    frame: Frame


@dataclass(frozen=True)
class _Result:
    """What is written for a frame: its line, and its picture; None where the frame is broken, or none is wanted."""

    frame: Frame
    line: bytes
    picture: UInt8Array | None


def parse_videos(
    parser: FaceParser,
    jobs: Sequence[Job],
    smoothing: OneEuroConfig | None,
    align: Align = "none",
    *,
    overlay: bool = True,
) -> list[str]:
    """Parse videos one after the other and write their results; one that cannot be read is told and skipped.

    Args:
        parser: what parses.
        jobs: what is parsed.
        smoothing: how key points and landmarks are smoothed over time; None: not.
        align: whether faces are looked for in each frame, see `FaceParser`.
        overlay: whether the annotated clip is written.

    Returns:
        One message for each video that was skipped.
    """
    failures = []
    for job in jobs:
        try:
            _parse_video(parser, job, FaceTracks(smoothing), align, overlay=overlay)
        except DataError as error:
            failures.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
    return failures


def _parse_video(parser: FaceParser, job: Job, tracks: FaceTracks, align: Align, *, overlay: bool) -> None:
    """Write `STEM.overlay.mp4` and `STEM.jsonl`, both whole or, if this is stopped, neither."""
    broken: list[Frame] = []
    frames = 0
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(job.path))
        lines = stack.enter_context(
            stack.enter_context(replacing(job.stem.with_name(job.stem.name + LINES))).open("wb")
        )
        clip = None
        if overlay:
            part = stack.enter_context(replacing(job.stem.with_name(job.stem.name + CLIP)))
            clip = stack.enter_context(VideoWriter(part, video.rate))
        results = stack.enter_context(closing(_results(parser, job, video, tracks, align, overlay=overlay)))
        picture = None
        for result in tqdm(results, total=video.count, unit="frame", desc=job.path.name):
            frames += 1
            if result.frame.image is None:
                broken.append(result.frame)
            lines.write(result.line)
            # A broken frame shows the last picture on.
            picture = picture if result.picture is None else result.picture
            if clip and picture is not None:
                clip.write(picture, result.frame.time)
        if len(broken) == frames:
            reason = broken[0].error if broken else "it has none"
            raise DataError(f"video {job.path}: no frame can be decoded ({reason}); replace it, or convert it to mp4")
    _tell(job, video, broken, frames, overlay=overlay)


def _results(
    parser: FaceParser, job: Job, video: VideoReader, tracks: FaceTracks, align: Align, *, overlay: bool
) -> Generator[_Result, None, None]:
    """Yield what is to be written, in order; a few frames are in each stage at a time."""
    frames = iter(video)

    def read(_: None) -> list[Frame]:
        return list(islice(frames, 1))

    def look(frame: Frame) -> _Opened:
        return _open(parser, job, frame, align)

    def trace(opened: _Opened) -> tuple[Frame, list[Face]]:
        faces = parser.stages.trace(opened.scene)
        for face in faces:
            _ = face.landmarks  # kept by the face; they are read off here, by several threads, and smoothed by one
        return opened.frame, faces

    def finish(followed: tuple[Frame, list[TrackedFace]]) -> _Result:
        return _finish(*followed, overlay=overlay)

    streams = parser.stages.backend.streams
    with one_thread_each(streams), ExitStack() as stack:
        sizes = (1, LOOK_AHEAD, streams, LOOK_AHEAD, LOOK_AHEAD, LOOK_AHEAD)
        readers, lookers, runners, refiners, tracers, painters = (
            stack.enter_context(ThreadPoolExecutor(n)) for n in sizes
        )
        # Frames come from one thread, one by one, until there is none.
        read_frames = chain.from_iterable(takewhile(bool, ahead(readers, read, repeat(None))))
        seen = parsed(parser, ahead(lookers, look, read_frames), align, runners, refiners)
        traced = ahead(tracers, trace, seen)
        yield from ahead(painters, finish, _follow(tracks, traced))


def _open(parser: FaceParser, job: Job, frame: Frame, align: Align) -> _Opened:
    if frame.image is None:
        return _Opened(NOTHING, frame)
    height, width = frame.image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DataError(f"video {job.path}: {width} x {height} pixels, need at least {MIN_SIDE} x {MIN_SIDE}")
    return _Opened(parser.stages.look(frame.image, align), frame)


def _follow(
    tracks: FaceTracks, parsed: Iterable[tuple[Frame, list[Face]]]
) -> Iterator[tuple[Frame, list[TrackedFace]]]:
    for frame, faces in parsed:
        # A broken frame says nothing about faces: they are taken up again after it.
        yield frame, [] if frame.image is None else tracks(faces, frame.time)


def _finish(frame: Frame, faces: list[TrackedFace], *, overlay: bool) -> _Result:
    height, width = (0, 0) if frame.image is None else frame.image.shape[:2]
    content = {
        "schema": SCHEMA,
        "frame": frame.number,
        "time": round(frame.time, TIME_DECIMALS),
        **({"error": frame.error} if frame.error else {"width": width, "height": height}),
        "faces": [{"track": one.track, **one.face.to_dict()} for one in faces],
    }
    line = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    drawn = draw_overlay(frame.image, [one.face for one in faces]) if overlay and frame.image is not None else None
    return _Result(frame, line, drawn)


def _tell(job: Job, video: VideoReader, broken: Sequence[Frame], frames: int, *, overlay: bool) -> None:
    """Say on stderr what is not in the results."""
    remarks = []
    if broken:
        numbers = ", ".join(str(frame.number) for frame in broken[:TOLD]) + (", ..." if len(broken) > TOLD else "")
        remarks.append(f"{len(broken)} of {frames} frames cannot be decoded ({broken[0].error}): {numbers}")
    if video.missing:
        remarks.append(f"the file ends {video.missing} frames early")
    if video.sound and overlay:
        remarks.append("the sound is not kept")
    for remark in remarks:
        print(f"{job.path}: {remark}", file=sys.stderr)

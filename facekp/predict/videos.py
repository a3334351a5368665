"""Parsing videos into one line of JSON per frame, an annotated clip, and the alpha of regions."""

import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

import av
import numpy as np
from av.audio.stream import AudioStream

from facekp.cli import Progress
from facekp.errors import DataError, printable
from facekp.files import replacing, to_json
from facekp.formats.regions import Alpha
from facekp.images import UInt8Array
from facekp.parsing.choices import Align
from facekp.parsing.face import SCHEMA, Face
from facekp.parsing.inputs import MIN_SIDE
from facekp.parsing.overlay import draw_overlay
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene
from facekp.predict.pipeline import Job, Workers, enough_memory, run_network
from facekp.predict.settings import OneEuroConfig
from facekp.predict.sources import CLIP, LINES, MATTE, describe
from facekp.predict.tracking import FaceTracks, OneEuro, TrackedFace
from facekp.predict.video_io import Frame, VideoReader, VideoWriter

EMPTY: Final = Scene(np.empty((0, 0, 3), np.uint8))  # scene of a frame that cannot be decoded


def parse_videos(
    parser: FaceParser,
    jobs: Sequence[Job],
    smoothing: OneEuroConfig | None,
    align: Align = "none",
    *,
    overlay: bool = True,
    mattes: Sequence[Alpha] = (),
) -> list[str]:
    """Parse videos one after the other, write their results, and return a message for each that cannot be read.

    `overlay` writes the annotated clip too, and each of `mattes` a grey clip of its region's alpha; `smoothing` None
    disables smoothing. For `align` see `FaceParser`.
    """
    failures = []
    for job in jobs:
        try:
            with enough_memory(job.path):
                _parse_video(parser, job, FaceTracks(smoothing), align, overlay=overlay, mattes=mattes)
        except (DataError, av.FFmpegError) as error:  # the reader converts its own, so FFmpegError is the encoder's
            encoding = f"its clip cannot be encoded ({error}); leave overlay and alpha out of export"
            failures.append(str(error) if isinstance(error, DataError) else f"{describe(job.path)}: {encoding}")
            print(f"skipped: {printable(failures[-1])}", file=sys.stderr)
    return failures


def _parse_video(
    parser: FaceParser, job: Job, tracks: FaceTracks, align: Align, *, overlay: bool, mattes: Sequence[Alpha]
) -> None:
    """Write `STEM.jsonl`, and the clips: all complete, or none if interrupted."""
    broken: list[Frame] = []
    frames, sizes = 0, dict[tuple[int, ...], None]()
    with ExitStack() as stack:
        video = stack.enter_context(VideoReader(job.path, sound=overlay))
        if isinstance(job.path, str):
            stack.enter_context(_ending_on_ctrl_c(video))
        lines_part = stack.enter_context(replacing(job.stem.with_name(job.stem.name + LINES), shared=True))
        lines = stack.enter_context(lines_part.open("wb"))

        def clip_of(ending: str, sound: AudioStream | None = None) -> VideoWriter:
            part = stack.enter_context(replacing(job.stem.with_name(job.stem.name + ending), shared=True))
            return stack.enter_context(VideoWriter(part, video.rate, sound))

        clip = clip_of(CLIP, video.sound) if overlay else None
        soft = [(clip_of(f".{matte.region}{MATTE}"), dict[tuple[int, ...], OneEuro]()) for matte in mattes]
        frames_parsed = _results(parser, job, video, tracks, align, overlay=overlay, mattes=mattes)
        results = stack.enter_context(closing(frames_parsed))
        shown, alphas = None, list[UInt8Array]()
        for frame, line, picture, new in Progress(results, total=video.count, unit="frame", desc=job.stem.name):
            frames += 1
            if frame.image is None:
                broken.append(frame)
            else:
                sizes[frame.image.shape[1::-1]] = None
            lines.write(line)
            # A frame that cannot be decoded repeats the last picture.
            shown = shown if picture is None else picture
            if clip and shown is not None:
                clip.write(shown, frame.time)
                clip.write_sound(video.heard)
            alphas = new or alphas
            for (writer, by_size), alpha in zip(soft, alphas, strict=False):  # none before the first picture
                smooth = by_size.setdefault(alpha.shape, OneEuro(tracks.config)) if tracks.config else None
                writer.write(_smoothed(alpha, smooth, frame.time), frame.time)
        if len(broken) == frames:
            reason = f"no frame can be decoded ({broken[0].error if broken else 'it has none'})"
            raise DataError(f"{describe(job.path)}: {reason}; replace it, or convert it to mp4")
    remarks = []
    if broken:
        numbers = ", ".join([*(str(frame.number) for frame in broken[:10]), "..."][: len(broken)])
        remarks.append(f"{len(broken)} of {frames} frames cannot be decoded ({broken[0].error}): {numbers}")
    if video.missing:
        remarks.append(f"the file ends {video.missing} frames early")
    if video.ended:
        remarks.append(f"it ends early ({video.ended})")
    if video.hdr:
        remarks.append(f"HDR ({video.hdr}), shown in the colours of an ordinary display")
    if len(sizes) > 1:
        every = ", ".join(f"{width} x {height}" for width, height in sizes)
        remarks.append(f"its pictures change their size ({every}); the clip has the first, on black where they differ")
    if clip and clip.sound and clip.sound.error:
        remarks.append(f"some of its sound is not kept ({clip.sound.error})")
    for remark in remarks:
        print(printable(f"{describe(job.path)}: {remark}"), file=sys.stderr)


def _smoothed(alpha: UInt8Array, smooth: OneEuro | None, time: float) -> UInt8Array:
    """Return an alpha (H, W) uint8 smoothed over time, as a grey picture (H, W, 3)."""
    if smooth:  # each pixel is a point in one dimension, whose unit is that of speeds
        values = smooth(np.divide(alpha.reshape(-1, 1), 255, dtype=np.float32), time, width=1.0)
        alpha = np.rint(255 * values).astype(np.uint8).reshape(alpha.shape)
    return np.repeat(alpha[..., None], 3, axis=2)


@contextmanager
def _ending_on_ctrl_c(video: VideoReader) -> Iterator[None]:
    """End a stream on Ctrl-C, so that its files are finished; a second Ctrl-C interrupts."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        print("ending; Ctrl-C again drops the results", file=sys.stderr)
        video.stop()

    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _results(
    parser: FaceParser,
    job: Job,
    video: Iterable[Frame],
    tracks: FaceTracks,
    align: Align,
    *,
    overlay: bool,
    mattes: Sequence[Alpha],
) -> Generator[tuple[Frame, bytes, UInt8Array | None, list[UInt8Array]], None, None]:
    """Yield each frame in order with its line, its picture and alphas, if any; a few frames are in memory at a time."""

    def look(frame: Frame) -> tuple[Frame, Scene]:
        if frame.image is None:
            return frame, EMPTY
        height, width = frame.image.shape[:2]
        if min(height, width) < MIN_SIDE:
            least = f"need at least {MIN_SIDE} x {MIN_SIDE}"
            raise DataError(f"{describe(job.path)}: {width} x {height} pixels, {least}")
        return frame, parser.stages.look(frame.image, align)

    def trace(parsed: tuple[Frame, Scene] | DataError) -> tuple[Frame, list[Face]]:
        if isinstance(parsed, DataError):
            raise parsed
        frame, scene = parsed
        faces = parser.stages.trace(scene)
        for face in faces:
            _ = face.landmarks  # computed here, in several threads, and cached for the one thread that smooths them
        return frame, faces

    def track(traced: Iterable[tuple[Frame, list[Face]]]) -> Iterator[tuple[Frame, list[TrackedFace]]]:
        for frame, faces in traced:
            # A frame that cannot be decoded does not end tracks.
            yield frame, [] if frame.image is None else tracks(faces, frame.time)

    def draw(followed: tuple[Frame, list[TrackedFace]]) -> tuple[Frame, bytes, UInt8Array | None, list[UInt8Array]]:
        frame, faces = followed
        content: dict[str, Any] = {"schema": SCHEMA, "frame": frame.number, "time": round(frame.time, 6)}
        if frame.image is None:
            content["error"] = frame.error
        else:
            content |= {"width": frame.image.shape[1], "height": frame.image.shape[0]}
        content["faces"] = [face.to_dict() for face in faces]
        picture, alphas, own = None, list[UInt8Array](), [tracked.face for tracked in faces]
        if frame.image is not None:
            picture = draw_overlay(frame.image, own, classes=classes) if overlay else None
            alphas = [matte.alpha((frame.image.shape[0], frame.image.shape[1]), own) for matte in mattes]
        return frame, to_json(content) + b"\n", picture, alphas

    classes = parser.stages.backend.classes
    with Workers(parser.stages.backend.streams) as pool:
        scenes = run_network(pool, parser, pool.prefetch(look, video), lambda frame: job.path)
        yield from pool.prefetch(draw, track(pool.prefetch(trace, scenes)))

"""Video reading and writing with PyAV.

Reference: https://pyav.basswood-io.com (bindings of ffmpeg's libraries).
"""

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from time import monotonic
from typing import Any, Final, cast

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from facekp.errors import ConfigError, DataError
from facekp.images import UInt8Array, fit_within, resize
from facekp.predict.hdr import CURVES, tone_map
from facekp.predict.sound import Sound
from facekp.predict.sources import CLIP_MARK, describe

CLOCK: Final = Fraction(1, 90_000)  # time base of clips, seconds; the period of every usual frame rate is a multiple
ENCODER: Final = "libx264"
PATIENCE: Final = 15.0, 15.0  # seconds to wait for a stream to open, and for its next data


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video."""

    number: int  # 0 for the first frame, in the order of display
    time: float  # seconds since the video's start; grows from frame to frame
    image: UInt8Array | None  # (H, W, 3) RGB, upright; None if the frame cannot be decoded
    error: str = ""  # why it cannot be decoded; empty otherwise


class VideoReader(AbstractContextManager["VideoReader"]):
    """Iterate over the frames of a video in the order of display; `with` closes it.

    Frames have square pixels, and the colours of an ordinary display if the video is HDR. A frame that cannot be
    decoded is a `Frame` without an image, at its own time. A truncated file ends early.

    `source` is any file that ffmpeg reads, or the address of a stream; with `sound`, its sound is collected in `heard`.

    Raises:
        DataError: the video cannot be opened, or has no pictures.
    """

    def __init__(self, source: Path | str, *, sound: bool = False) -> None:
        stream, before = isinstance(source, str), monotonic()
        try:
            # Packets that arrive over UDP may be lost without a word.
            options = {"rtsp_flags": "prefer_tcp"} if stream and str(source).startswith("rtsp") else {}
            self._container: InputContainer = av.open(source, options=options, timeout=PATIENCE if stream else None)
        except (av.FFmpegError, OSError) as error:
            # ffmpeg's protocols give other reasons when they are interrupted.
            silent = stream and monotonic() - before >= PATIENCE[0]
            reason = _reason(av.error.ExitError(0, "") if silent else error)
            remedy = "check the address, and that it answers" if stream else "replace it, or convert it to mp4"
            raise DataError(f"{describe(source)}: cannot be read ({reason}); {remedy}") from error
        if not self._container.streams.video:
            self._container.close()
            raise DataError(f"{describe(source)}: has no pictures; remove it, or name another")
        self._stream: VideoStream = self._container.streams.video[0]
        # Threads share each frame. With one frame per thread, ffmpeg loses the neighbours of a broken one at the end.
        self._stream.thread_type = "SLICE"
        # By the header, the number of frames, or None, and frames per second on average.
        self.count = self._stream.frames or None
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(30)
        self.missing = self.count or 0  # once all frames are read, the number of those that the file lacks
        self.sound: AudioStream | None = next(iter(self._container.streams.audio), None) if sound else None
        self.heard: deque[Packet[AudioStream]] = deque()  # packets read so far, in order; the caller removes them
        self.hdr = ""  # "PQ" or "HLG"
        self.ended = self._error = ""  # why reading ended before the video did
        self._start = Fraction(self._container.start_time or 0, av.time_base)
        self._stopped = False

    def stop(self) -> None:
        """End the iteration after the frames that are decoded."""
        self._stopped = True

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        base = self._stream.time_base or CLOCK
        time = -1 / self.rate
        for number, (pts, picture) in enumerate(self._shown()):
            at = time if pts is None else pts * base - self._start
            # Timestamps may be absent, repeated or decreasing.
            time = at if at > time else time + 1 / self.rate
            if picture is None:
                yield Frame(number, float(time), None, self._error or "its data contain no picture")
            else:
                yield Frame(number, float(time), self._as_shown(picture))

    def _as_shown(self, picture: av.VideoFrame) -> UInt8Array:
        """Return a picture upright, with square pixels, and not in HDR."""
        image = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
        if (transfer := int(self._stream.codec_context.color_trc or 0)) in CURVES:
            self.hdr = CURVES[transfer][0]
            image = tone_map(image, transfer)
        aspect = self._stream.sample_aspect_ratio or 1
        if aspect != 1 and 1 / 4 <= aspect <= 4:  # files that say otherwise are damaged
            size = max(1, round(image.shape[1] * aspect)), image.shape[0]
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        return np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)))

    def _shown(self) -> Iterator[tuple[int | None, av.VideoFrame | None]]:
        """Yield the timestamp and picture of each frame; the picture is None if the frame cannot be decoded."""
        due: list[int] = []  # a heap of timestamps of packets not yet decoded to a picture
        try:
            for read in self._container.demux([stream for stream in (self._stream, self.sound) if stream]):
                if self._stopped:
                    self.missing = 0
                    return
                if read.stream is not self._stream:
                    self._hear(read)
                    continue
                packet = cast("Packet[VideoStream]", read)
                # The last packet is empty: it flushes the decoder.
                self.missing = max(0, self.missing - bool(packet.size))
                if packet.pts is not None and _is_shown(packet):
                    heappush(due, packet.pts)
                try:
                    pictures = packet.decode()
                except av.FFmpegError as error:
                    pictures, self._error = [], _reason(error)
                for picture in pictures:
                    while due and picture.pts is not None and due[0] <= picture.pts:
                        # Pictures come out in the order of display, so what was due earlier is lost.
                        if (pts := heappop(due)) < picture.pts:
                            yield pts, None
                    yield picture.pts, picture
        except (av.FFmpegError, OSError) as error:
            self._error = self.ended = _reason(error)
        while due:
            yield heappop(due), None

    def _hear(self, packet: "Packet[Any]") -> None:
        """Keep a packet of sound, with its times counted from the video's start."""
        if packet.size and packet.pts is not None and packet.dts is not None:
            late = round(self._start / packet.time_base)
            packet.pts, packet.dts = packet.pts - late, packet.dts - late
            self.heard.append(packet)


def _reason(error: av.FFmpegError | OSError) -> str:
    """Return the reason of an error without the file's name."""
    if isinstance(error, av.error.ExitError):
        return f"no data for {PATIENCE[1]:.0f} seconds"
    return error.strerror or str(error)


def _is_shown(packet: "Packet[VideoStream]") -> bool:
    """Return whether a packet contains a picture to show."""
    if packet.stream.codec_context.name in ("vp8", "libvpx") and packet.size:
        # RFC 6386, section 9.1: some frames of VP8 only serve to predict others.
        return bool(bytes(packet)[0] & 0b10000)
    return not packet.is_discard


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """Write an mp4 file with H.264 pictures, which browsers play; `with` ends and closes it.

    Frames per second are only a hint for the encoder: each frame has its own time. The argument `sound` is the stream
    whose packets `write_sound` will get, the attribute the clip's own; None without any, or before the first picture.

    Raises:
        ConfigError: this installation of ffmpeg cannot write H.264.
    """

    def __init__(self, path: Path, rate: Fraction, sound: AudioStream | None = None) -> None:
        if ENCODER not in av.codecs_available:
            remedy = "install PyPI's, or leave out overlay (export=[json])"
            raise ConfigError(f"this PyAV lacks {ENCODER}, which writes clips: {remedy}")
        # The index precedes the pictures, so that a browser can start before it has the whole file.
        self._container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        self._container.metadata["comment"] = CLIP_MARK.decode()
        self._rate = rate
        self._source = sound
        self._stream: VideoStream | None = None
        self.sound: Sound | None = None
        self._last = -1

    def write(self, image: UInt8Array, time: float) -> None:
        """Add a picture (H, W, 3) uint8 RGB, to be shown `time` seconds from the clip's start.

        Odd sides are padded by one pixel. One of another size than the first is fitted into that, on black.
        """
        image = fit_within(image, 16_384)  # the encoder takes no longer side
        if self._stream is None:
            self._stream = self._add_streams(image.shape[0], image.shape[1])
        height, width = self._stream.height, self._stream.width
        if (height - image.shape[0], width - image.shape[1]) not in ((0, 0), (0, 1), (1, 0), (1, 1)):
            scale = min(height / image.shape[0], width / image.shape[1])
            inner = resize(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))
            image = np.zeros((height, width, 3), np.uint8)
            top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
            image[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        # Browsers play H.264 with colours at half resolution only, so sides are even.
        image = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        self._last = max(round(time / CLOCK), self._last + 1)
        picture.pts, picture.time_base = self._last, CLOCK
        self._container.mux(self._stream.encode(picture))

    def write_sound(self, packets: "deque[Packet[AudioStream]]") -> None:
        """Add packets of sound, with their times from the clip's start, and remove them; call it after `write`."""
        while packets:
            packet = packets.popleft()
            if self.sound:
                self.sound.write(packet)

    def _add_streams(self, height: int, width: int) -> VideoStream:
        """Add the streams of pictures and of sound: mp4 must have all of them before the first packet."""
        stream = self._container.add_stream(ENCODER, rate=self._rate, options={"crf": "20", "preset": "veryfast"})
        stream.height, stream.width = (side + side % 2 for side in (height, width))
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = CLOCK
        # BT.709, HDTV's colours, by its code in ITU-T H.273; players guess if a file does not specify them.
        context.colorspace = context.color_primaries = context.color_trc = 1
        if self._source is not None:
            self.sound = Sound(self._source, self._container)
        return stream

    def __exit__(self, *error: object) -> None:
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode())
                if self.sound:
                    self.sound.end()
        finally:
            self._container.close()

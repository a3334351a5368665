"""Video reading and writing with PyAV.

Reference: https://pyav.basswood-io.com (bindings of ffmpeg's libraries).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from facekp.errors import ConfigError, DataError
from facekp.images import UInt8Array, fit_within, resize
from facekp.predict.sources import CLIP_MARK

MICROSECONDS: Final = 1_000_000
CLOCK: Final = Fraction(1, 90_000)
"""Time base of written clips in seconds: the period of every usual frame rate is a multiple of it."""
ENCODER: Final = "libx264"
QUALITY: Final = {"crf": "20", "preset": "veryfast"}
MAX_SIDE: Final = 16_384
"""Longest side of a picture that the encoder takes, pixels; larger ones are reduced to it."""
BT709: Final = 1
"""ITU-T H.273's code for HDTV colours; players guess if a file does not specify them."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        number: 0 for the first frame, in the order of display.
        time: seconds since the video's start; grows from frame to frame.
        image: (H, W, 3) uint8 RGB, upright; None if the frame cannot be decoded.
        error: why it cannot be decoded; empty otherwise.
    """

    number: int
    time: float
    image: UInt8Array | None
    error: str = ""


class VideoReader(AbstractContextManager["VideoReader"]):
    """Iterate over the frames of a video file in the order of display; `with` closes it.

    A frame that cannot be decoded is a `Frame` without an image, at its own time. A truncated file ends early.

    Args:
        path: any file that ffmpeg reads.

    Attributes:
        count: number of frames according to the file's header, or None.
        rate: average frames per second according to the file's header.
        missing: once all frames are read, the number of frames in `count` that the file lacks.
        sound: whether the file has sound.

    Raises:
        DataError: the file cannot be opened, or has no video.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._container: InputContainer = av.open(path)
        except (av.FFmpegError, OSError) as error:
            raise DataError(
                f"video {path}: cannot be read ({error.strerror or error}); replace it, or convert it to mp4"
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise DataError(f"video {path}: has no pictures; remove it, or name another")
        self._stream: VideoStream = self._container.streams.video[0]
        # Threads share each frame. With one frame per thread, ffmpeg loses the neighbours of a broken one at the end.
        self._stream.thread_type = "SLICE"
        self.count = self._stream.frames or None
        self.missing = self.count or 0
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(30)
        self.sound = bool(self._container.streams.audio)
        self._error = ""

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        start = Fraction(self._container.start_time or 0, MICROSECONDS)
        base = self._stream.time_base or CLOCK
        time = -1 / self.rate
        for number, (pts, picture) in enumerate(self._shown()):
            at = time if pts is None else pts * base - start
            # Timestamps may be absent, repeated or decreasing.
            time = at if at > time else time + 1 / self.rate
            if picture is None:
                yield Frame(number, float(time), None, self._error or "its data contain no picture")
            else:
                image = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
                upright = np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)))
                yield Frame(number, float(time), upright)

    def _shown(self) -> Iterator[tuple[int | None, av.VideoFrame | None]]:
        """Yield the timestamp and picture of each frame; the picture is None if the frame cannot be decoded."""
        due: list[int] = []  # a heap of timestamps of packets not yet decoded to a picture
        try:
            for packet in self._container.demux(self._stream):
                # The last packet is empty: it flushes the decoder.
                self.missing = max(0, self.missing - bool(packet.size))
                if packet.pts is not None and _is_shown(packet):
                    heappush(due, packet.pts)
                try:
                    pictures = packet.decode()
                except av.FFmpegError as error:
                    pictures, self._error = [], error.strerror or str(error)
                for picture in pictures:
                    while due and picture.pts is not None and due[0] <= picture.pts:
                        # Pictures come out in the order of display, so what was due earlier is lost.
                        if (pts := heappop(due)) < picture.pts:
                            yield pts, None
                    yield picture.pts, picture
        except (av.FFmpegError, OSError) as error:
            self._error = error.strerror or str(error)  # the file ends here
        while due:
            yield heappop(due), None


def _is_shown(packet: "Packet[VideoStream]") -> bool:
    """Return whether a packet contains a picture to show."""
    if packet.stream.codec_context.name in ("vp8", "libvpx") and packet.size:
        # RFC 6386, section 9.1: some frames of VP8 only serve to predict others.
        return bool(bytes(packet)[0] & 0b10000)
    return not packet.is_discard


class VideoWriter(AbstractContextManager["VideoWriter"]):
    """Write an mp4 file with H.264 pictures, which browsers play; `with` ends and closes it.

    `rate`, in frames per second, is only a hint for the encoder: each frame has its own time.

    Raises:
        ConfigError: this installation of ffmpeg cannot write H.264.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        if ENCODER not in av.codecs_available:
            raise ConfigError(
                f"this PyAV lacks {ENCODER}, which writes clips: install PyPI's, or leave out overlay (export=[json])"
            )
        # The index precedes the pictures, so that a browser can start before it has the whole file.
        self._container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        self._container.metadata["comment"] = CLIP_MARK.decode()
        self._rate = rate
        self._stream: VideoStream | None = None
        self._last = -1

    def write(self, image: UInt8Array, time: float) -> None:
        """Add a picture.

        Args:
            image: (H, W, 3) uint8 RGB; resized to the first picture's size, with odd sides padded by one pixel.
            time: seconds from the clip's start at which it is shown.
        """
        image = fit_within(image, MAX_SIDE)
        if self._stream is None:
            self._stream = self._container.add_stream(ENCODER, rate=self._rate, options=QUALITY)
            self._stream.height, self._stream.width = (side + side % 2 for side in image.shape[:2])
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = CLOCK
            context.colorspace = context.color_primaries = context.color_trc = BT709
        height, width = self._stream.height, self._stream.width
        if image.shape[:2] != (height, width):
            # Browsers play H.264 with colours at half resolution only, so sides are even.
            even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
            image = resize(even, (height, width))
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        self._last = max(round(time / CLOCK), self._last + 1)
        picture.pts, picture.time_base = self._last, CLOCK
        self._container.mux(self._stream.encode(picture))

    def __exit__(self, *error: object) -> None:
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

"""Video files: upright RGB frames with their times, and clips that browsers play.

Reference: PyAV (ffmpeg's libraries), https://pyav.basswood-io.com
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from facekp.errors import ConfigError, DataError
from facekp.images import UInt8Array, resize

MICROSECONDS: Final = 1_000_000
CLOCK: Final = Fraction(1, 90_000)
"""Time base of written clips, in seconds: every usual frame rate is a whole number of these."""
ENCODER: Final = "libx264"
QUALITY: Final = {"crf": "20", "preset": "veryfast"}
BT709: Final = 1
"""ITU-T H.273's code of HDTV's colours; players take files that do not say so for one thing or another."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        number: 0 for the first, in the order in which they are shown.
        time: seconds since the video's start; grows from frame to frame.
        image: (H, W, 3) uint8 RGB, turned upright; None where the frame cannot be decoded.
        error: why it cannot be; empty otherwise.
    """

    number: int
    time: float
    image: UInt8Array | None
    error: str = ""


class VideoReader:
    """The frames of a video file, in the order in which they are shown. Close it, or use it in a `with`.

    A frame that the file has and that cannot be decoded comes as a `Frame` without an image, at its own time. A file
    that was cut off ends early.

    Args:
        path: any file that ffmpeg reads.

    Attributes:
        count: how many frames the file says it has; None where it does not say.
        rate: frames per second, on average, as the file says.
        missing: when the frames have been read: how many of those that the file says it has are not in it.
        sound: whether the file has sound too.

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
        # Threads share each frame: where they take one each, ffmpeg loses those beside a broken one at the file's end.
        self._stream.thread_type = "SLICE"
        self.count = self._stream.frames or None
        self.missing = self.count or 0
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(30)
        self.sound = bool(self._container.streams.audio)
        self._error = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        start = Fraction(self._container.start_time or 0, MICROSECONDS)
        base = self._stream.time_base or CLOCK
        time = -1 / self.rate
        for number, (pts, picture) in enumerate(self._shown()):
            at = time if pts is None else pts * base - start
            # Files without timestamps, or with some that stand still or go back.
            time = at if at > time else time + 1 / self.rate
            if picture is None:
                yield Frame(number, float(time), None, self._error or "no picture comes out of its data")
            else:
                yield Frame(number, float(time), _upright(picture))

    def _shown(self) -> Iterator[tuple[int | None, av.VideoFrame | None]]:
        """Yield each frame with its timestamp; None for a frame of which the file has data that give no picture."""
        due: list[int] = []  # timestamps of packets whose picture has not come yet; a heap
        for packet in self._packets():
            if packet.pts is not None and _is_shown(packet):
                heappush(due, packet.pts)
            for picture in self._decode(packet):
                while due and picture.pts is not None and due[0] <= picture.pts:
                    # Pictures come in the order of their times, so what was due earlier is lost.
                    if (pts := heappop(due)) < picture.pts:
                        yield pts, None
                yield picture.pts, picture
        while due:
            yield heappop(due), None

    def _packets(self) -> "Iterator[Packet[VideoStream]]":
        try:
            for packet in self._container.demux(self._stream):
                # The last is empty: it asks for the pictures that are still in the decoder.
                self.missing = max(0, self.missing - bool(packet.size))
                yield packet
        except (av.FFmpegError, OSError) as error:
            self._error = error.strerror or str(error)  # the file ends here

    def _decode(self, packet: "Packet[VideoStream]") -> list[av.VideoFrame]:
        try:
            return packet.decode()
        except av.FFmpegError as error:
            self._error = error.strerror or str(error)
            return []


def _is_shown(packet: "Packet[VideoStream]") -> bool:
    """Tell whether a picture is to come out of a packet."""
    if packet.stream.codec_context.name in ("vp8", "libvpx") and packet.size:
        # RFC 6386, section 9.1: VP8 has frames that only serve to predict others.
        return bool(bytes(packet)[0] & 0b10000)
    return not packet.is_discard


def _upright(picture: av.VideoFrame) -> UInt8Array:
    """Return a decoded picture as (H, W, 3) uint8 RGB, turned as the camera was held, by quarters."""
    image = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    return np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)))


class VideoWriter:
    """Write an mp4 file with H.264 pictures, which browsers play. Close it, or use it in a `with`.

    Args:
        path: where to; any name.
        rate: frames per second, for the encoder's planning; a frame's own time is what counts.

    Raises:
        ConfigError: this installation of ffmpeg cannot write H.264.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        if ENCODER not in av.codecs_available:
            raise ConfigError(
                f"this PyAV has no {ENCODER} to write clips with: install PyPI's, or leave overlay out: export=[json]"
            )
        # The index before the pictures, so that a browser can begin before it has everything.
        self._container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        self._rate = rate
        self._stream: VideoStream | None = None
        self._last = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: UInt8Array, time: float) -> None:
        """Add a picture.

        Args:
            image: (H, W, 3) uint8 RGB; brought to the size of the first, plus a pixel where that is odd.
            time: seconds since the clip's start, when it is first shown.
        """
        if self._stream is None:
            self._stream = self._add_stream(image)
        height, width = self._stream.height, self._stream.width
        odd = height - image.shape[0], width - image.shape[1]
        if odd != (0, 0):
            # H.264 as browsers play it has its colours at half resolution.
            even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
            image = resize(even, (height, width))
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709
        )
        self._last = max(round(time / CLOCK), self._last + 1)
        picture.pts, picture.time_base = self._last, CLOCK
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what is still in the encoder, and the index."""
        try:
            if self._stream is not None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def _add_stream(self, image: UInt8Array) -> VideoStream:
        stream = self._container.add_stream(ENCODER, rate=self._rate, options=QUALITY)
        stream.height, stream.width = (side + side % 2 for side in image.shape[:2])
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = CLOCK
        context.colorspace = context.color_primaries = context.color_trc = BT709
        return stream

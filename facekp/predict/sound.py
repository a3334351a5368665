"""The sound of an annotated clip."""

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet


class Sound:
    """Copy a stream of sound into an mp4 file, encoding it anew only if browsers would not play it.

    Nothing is written to the open file yet. `error` is why some of the sound is not in it, or empty.
    """

    def __init__(self, source: AudioStream, container: OutputContainer) -> None:
        self.error = ""
        self._container = container
        self._copied = source.codec_context.name in ("aac", "mp3", "opus", "flac")  # which browsers play in mp4
        if self._copied:
            self._stream = container.add_stream_from_template(source)
        else:
            self._stream = container.add_stream("aac", rate=source.codec_context.sample_rate)
            self._stream.codec_context.layout = source.codec_context.layout

    def write(self, packet: "Packet[AudioStream]") -> None:
        """Add a packet with its time from the clip's start; one that is damaged, or out of order, is left out."""
        try:
            if self._copied:
                packet.stream = self._stream
                self._container.mux(packet)
            else:
                for frame in packet.decode():
                    self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, ValueError) as error:
            self.error = str(error)

    def end(self) -> None:
        """Write what the encoder still holds."""
        if not self._copied:
            self._container.mux(self._stream.encode())

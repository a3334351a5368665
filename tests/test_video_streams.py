"""Streams over http and rtsp, from servers on the loopback address."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from facekp import FaceParser
from facekp.keypoints.settings import KeypointConfig
from facekp.predict import video_io
from facekp.predict.__main__ import main
from facekp.predict.pipeline import list_jobs
from facekp.predict.sources import find_images

av = pytest.importorskip("av", reason="needs the extra video")
from test_video import DRIFT, GreyIsFace, drifting, frames, nose, picture, write  # noqa: E402

from facekp.predict.videos import parse_videos  # noqa: E402

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track\r\n"
)
"""One stream of H.264. Reference: RFC 8866, section 5, and RFC 6184, section 8.2.1."""


@pytest.fixture
def parser(monkeypatch):
    parser = FaceParser(GreyIsFace(), keypoints=KeypointConfig(n=16))
    monkeypatch.setattr(FaceParser, "from_checkpoint", lambda *_, **__: parser)
    return parser


@contextmanager
def http(folder):
    """Serve a folder; give its address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@contextmanager
def listening(serve):
    """Call `serve` with each connection to a port; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


class Interleaved:
    """A file that sends each RTP packet written to it over RTSP's own connection. Reference: RFC 2326, 10.12."""

    def __init__(self, connection):
        self.connection = connection

    def write(self, data):
        is_control = 200 <= data[1] <= 204
        self.connection.sendall(b"$" + bytes([is_control]) + len(data).to_bytes(2, "big") + bytes(data))
        return len(data)


def camera(pictures, connection):
    """Answer as an RTSP camera that shows `pictures`, then ends."""
    reader = connection.makefile("rb")
    while line := reader.readline():
        method, headers = line.split()[0], {}
        while header := reader.readline().strip():
            key, _, value = header.decode().partition(":")
            headers[key.lower()] = value.strip()
        extra = {
            b"DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n",
            b"SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
        }.get(method, "Session: 1\r\n")
        body = SDP if method == b"DESCRIBE" else ""
        connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\n{extra}\r\n{body}".encode())
        if method == b"PLAY":
            with av.open(Interleaved(connection), "w", format="rtp", options={"packetsize": "1400"}) as out:
                stream = out.add_stream("libx264", rate=30, options={"tune": "zerolatency", "g": "1"})
                stream.height, stream.width = pictures[0].shape[:2]
                stream.pix_fmt = "yuv420p"
                for image in pictures:
                    out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            connection.close()
            return


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_over_http(parser, tmp_path, capsys):
    write(tmp_path / "clip.mp4", drifting(4), sound="aac")
    with http(tmp_path) as address:
        assert main([f"source={address}/clip.mp4?key=1", f"out={tmp_path / 'out'}", "align=none", "smooth=false"]) == 0
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clip.jsonl", "clip.overlay.mp4"]
        lines = lines_of(tmp_path / "out" / "clip.jsonl")
        np.testing.assert_allclose([nose(line)[0] for line in lines], [59.5 + DRIFT * i for i in range(4)], atol=1.0)
        with av.open(tmp_path / "out" / "clip.overlay.mp4") as clip:
            assert clip.streams.audio
        capsys.readouterr()
        assert main([f"source={address}/gone.mp4", f"out={tmp_path / 'out'}", "align=none"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: 1 skipped, the first: stream {address}/gone.mp4: cannot be read (")


def test_a_camera_over_rtsp(parser, tmp_path, capsys):
    with listening(partial(camera, drifting(12))) as port:
        address = f"rtsp://user:secret@127.0.0.1:{port}/door"
        assert main([f"source={address}", f"out={tmp_path}", "align=none", "smooth=false"]) == 0
    assert "secret" not in "".join(capsys.readouterr())
    lines = lines_of(tmp_path / "door.jsonl")
    assert len(lines) >= 11  # the last frame is dropped if the connection closes early
    assert len(frames(tmp_path / "door.overlay.mp4")) == len(lines)
    want = [59.5 + DRIFT * i for i in range(len(lines))]
    np.testing.assert_allclose([nose(line)[0] for line in lines], want, atol=1.5)


def test_an_address_that_does_not_answer_is_one_line(parser, tmp_path, monkeypatch):
    monkeypatch.setattr(video_io, "PATIENCE", (0.3, 0.3))
    (out := tmp_path / "out").mkdir()
    silent = threading.Event()
    with listening(lambda connection: silent.wait(5)) as port, socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
        other.close()
        for scheme in ("http", "rtsp"):
            for number, reason in ((port, "no data for 0 seconds"), (closed, "Connection refused")):
                jobs = list_jobs(find_images(f"{scheme}://127.0.0.1:{number}/a"), out)
                (failure,) = parse_videos(parser, jobs, None)
                address = f"{scheme}://127.0.0.1:{number}/a"
                remedy = "check the address, and that it answers"
                assert failure == f"stream {address}: cannot be read ({reason}); {remedy}"
        silent.set()
    assert not any(out.iterdir())


def test_ctrl_c_finishes_the_files_of_a_stream(tmp_path):
    class Presses(GreyIsFace):
        def __call__(self, images):
            if len(self.calls) == 5:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
            return super().__call__(images)

    write(tmp_path / "clip.mp4", [picture()] * 60)
    (out := tmp_path / "out").mkdir()
    before = signal.getsignal(signal.SIGINT)
    with http(tmp_path) as address:
        assert parse_videos(FaceParser(Presses()), list_jobs([f"{address}/clip.mp4"], out), None) == []
    assert signal.getsignal(signal.SIGINT) is before
    lines = lines_of(out / "clip.jsonl")
    assert 6 <= len(lines) < 40
    assert len(frames(out / "clip.overlay.mp4")) == len(lines)
    assert sorted(p.name for p in out.iterdir()) == ["clip.jsonl", "clip.overlay.mp4"]

"""Videos: reading, writing, and parsing them with a network whose scores are known."""

import json
import re
import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from facekp import FaceParser
from facekp.classes import CELEBAMASK_HQ
from facekp.errors import ConfigError, DataError
from facekp.formats.base import FormatOptions
from facekp.formats.json import json_schema
from facekp.formats.regions import Alpha
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.parser import Stages
from facekp.predict.__main__ import main
from facekp.predict.hdr import CURVES, tone_map
from facekp.predict.pipeline import PREFETCH, list_jobs
from facekp.predict.settings import OneEuroConfig
from facekp.predict.sources import find_images, require_pyav

av = pytest.importorskip("av", reason="needs the extra video")
from facekp.predict.video_io import VideoReader, VideoWriter  # noqa: E402
from facekp.predict.videos import parse_videos  # noqa: E402

SIZE = (160, 256)
SKIN, NOSE = 1, 2
CLOCK = Fraction(1, 90_000)
DRIFT = 3  # pixels per frame that the drawn face moves to the right
INTRA = {"g": "1", "bf": "0"}  # each frame is coded by itself


class GreyIsFace:
    """Scores by brightness: background is dark, skin grey, the nose bright; edges lie halfway."""

    size, batch, streams, classes = 256, 1, 1, CELEBAMASK_HQ

    def __init__(self, batch=1):
        self.batch = batch
        self.calls = []

    def __call__(self, images):
        n, height, width, _ = images.shape
        self.calls.append(n)
        grey = images.mean(3).reshape(n, height // 8, 8, width // 8, 8).mean((2, 4))
        scores = np.zeros((n, height // 8, width // 8, 19), np.float32)
        scores[..., SKIN] = (grey - 85) / 5
        scores[..., NOSE] = scores[..., SKIN] + (grey - 185) / 5
        return [scores, np.zeros_like(scores[:, ::2, ::2]), np.zeros_like(scores[:, ::4, ::4])]


@pytest.fixture
def parser():
    return FaceParser(GreyIsFace(), keypoints=KeypointConfig(n=16))


def picture(left=20, size=SIZE):
    """Return a dark picture with a grey square, 80 wide, and a bright one of 40 in its middle."""
    image = np.full((*size, 3), 30, np.uint8)
    image[40:120, left : left + 80] = 140
    image[60:100, left + 20 : left + 60] = 230
    return image


def drifting(count):
    """Return the pictures of a face that moves to the right."""
    return [picture(20 + DRIFT * i) for i in range(count)]


def jpegs(*sizes):
    return b"".join(cv2.imencode(".jpg", picture(20, size))[1].tobytes() for size in sizes)


def write(path, images, times=None, codec="libx264", pixels="yuv444p", options=None, sound="", clock=CLOCK, aspect=0):
    """Write a clip with PyAV, 30 frames/s where no times are given; with `clock` None the frames' own clock."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        if clock:
            stream.codec_context.time_base = clock
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if sound:
            add_sound(container, sound)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if clock:
                frame.pts, frame.time_base = round((i / 30 if times is None else times[i]) / clock), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def add_sound(container, codec="aac"):
    """Add a second of sound: silence, then from half a second on a tone."""
    stream = container.add_stream(codec, rate=48_000, layout="mono")
    time = np.arange(48_000) / 48_000
    wave = np.where(time < 0.5, 0, np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    container.mux([*stream.encode(frame), *stream.encode()])


def damage(path, numbers):
    """Overwrite what the file has of these frames."""
    with av.open(path) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        packets.sort(key=lambda p: p.pts)
        spans = [(packets[i].pos, packets[i].size) for i in numbers]
    content = bytearray(path.read_bytes())
    for start, size in spans:
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)


def parse(parser, path, out, smoothing=None, overlay=True):
    """Parse one clip; return its lines."""
    out.mkdir(exist_ok=True)
    assert parse_videos(parser, list_jobs([path], out), smoothing, overlay=overlay) == []
    return [json.loads(line) for line in (out / f"{path.stem}.jsonl").read_text().splitlines()]


def nose(line):
    """Return the mean of the nose's key points in the one face of a line."""
    (face,) = line["faces"]
    (points,) = [a["keypoints"] for a in face["attributes"] if a["name"] == "nose"]
    return np.mean(points, axis=0)


def frames(path):
    with VideoReader(path) as video:
        return list(video)


def opencv_frames(path):
    """Return OpenCV's pictures and times: it has its own ffmpeg."""
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append((cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), video.get(cv2.CAP_PROP_POS_MSEC) / 1000))
    return found


def test_points_follow_the_face(parser, tmp_path):
    clip = write(tmp_path / "clip.mp4", drifting(16))
    lines = parse(parser, clip, tmp_path / "out", overlay=False)
    assert [line["frame"] for line in lines] == list(range(16))
    assert [line["time"] for line in lines] == pytest.approx([i / 30 for i in range(16)], abs=1e-6)
    # The nose's middle is 40 pixels right of the square's left edge, and at half of the picture's height.
    want = np.array([[20 + DRIFT * i + 39.5, 79.5] for i in range(16)])
    np.testing.assert_allclose([nose(line) for line in lines], want, atol=1.0)
    assert {line["faces"][0]["track"] for line in lines} == {0}
    assert (lines[0]["width"], lines[0]["height"]) == (256, 160)
    # 90 pixels, or 1.1 face widths, a second; smoothed, a point trails by less than 1.3 pixels of 80.
    calm = parse(parser, clip, tmp_path / "smooth", OneEuroConfig(), overlay=False)
    behind = (np.array([nose(line) for line in lines]) - np.array([nose(line) for line in calm]))[:, 0]
    assert 0.3 < behind[5:].mean() < 80 / (2 * np.pi * OneEuroConfig().beta)


@pytest.mark.parametrize("batch", [1, 4])
def test_the_annotated_clip_plays_like_the_first(tmp_path, batch):
    parser = FaceParser(backend := GreyIsFace(batch), keypoints=KeypointConfig(n=16))
    parse(parser, write(tmp_path / "clip.mp4", drifting(6)), tmp_path / "out")
    annotated = tmp_path / "out" / "clip.overlay.mp4"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clip.jsonl", "clip.overlay.mp4"]
    with av.open(annotated) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")  # what every browser plays
    content = annotated.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # and begins to before all of it is there
    seen = opencv_frames(annotated)
    assert [time for _, time in seen] == pytest.approx([i / 30 for i in range(6)], abs=1e-3)
    for i, (image, _) in enumerate(seen):
        # Enlarged threefold; what is bright in the photo is half nose's colour, and moves.
        middle = image[225:255, 3 * (20 + DRIFT * i + 40) - 15 :][:, :30].mean((0, 1))
        assert np.abs(image[:30, :30].mean((0, 1)) - 30).max() < 6
        assert middle.max() > 140
    assert (sum(backend.calls), max(backend.calls)) == (6, batch)


def test_a_regions_alpha_moves_with_it(tmp_path, parser, monkeypatch, capsys):
    clip, out = write(tmp_path / "clip.mp4", drifting(6)), tmp_path / "out"
    monkeypatch.setattr("facekp.predict.run.open_parser", lambda *_: parser)
    export = ["export=[json,alpha]", "regions=[nose,hair]", "smooth=false", "align=none"]
    assert main([f"source={clip}", f"out={out}", *export]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["clip.hair.alpha.mp4", "clip.jsonl", "clip.nose.alpha.mp4"]
    assert "photos only" not in capsys.readouterr().err
    seen = opencv_frames(out / "clip.nose.alpha.mp4")
    assert [time for _, time in seen] == pytest.approx([i / 30 for i in range(6)], abs=1e-3)
    for i, (image, _) in enumerate(seen):
        assert image.shape == (*SIZE, 3)
        left = 20 + DRIFT * i + 20  # of the bright square, 40 wide; scores blur its edges by a pixel of 8
        assert image[64:96, left + 6 : left + 34].min() > 245
        assert max(image[:, : left - 8].max(), image[:, left + 48 :].max(), image[:50].max()) < 10
    assert max(image.max() for image, _ in opencv_frames(out / "clip.hair.alpha.mp4")) < 10
    # They are results, so they are not parsed, and replaced.
    with pytest.raises(DataError, match="a folder without pictures or videos"):
        main([f"source={out}", f"out={tmp_path / 'again'}", "align=none"])
    assert main([f"source={clip}", f"out={out}", *export]) == 0
    (out / "clip.nose.alpha.mp4").write_bytes(clip.read_bytes())
    with pytest.raises(DataError, match=r"clip\.nose\.alpha\.mp4"):
        main([f"source={clip}", f"out={out}", *export])


def test_flicker_of_an_alpha_is_smoothed_and_motion_is_followed(tmp_path, parser):
    # The middle flickers about the score at which nose and skin are equal, then becomes bright.
    def shown(bright):
        image = picture(20)
        image[60:100, 40:80] = bright
        return image

    clip = write(tmp_path / "clip.mp4", [shown(b) for b in [184, 186] * 8 + [230] * 2], options={"crf": "0"})
    alphas = []
    for name, smoothing in (("plain", None), ("smooth", OneEuroConfig())):
        (out := tmp_path / name).mkdir()
        (nose,) = Alpha.open(FormatOptions(regions=["nose"]))
        assert parse_videos(parser, list_jobs([clip], out), smoothing, overlay=False, mattes=[nose]) == []
        alphas.append([float(image[75:85, 55:65].mean()) for image, _ in opencv_frames(out / "clip.nose.alpha.mp4")])
    plain, smooth = np.array(alphas)
    # Odds of +-0.2: 0.55, and stretched from 0.3 .. 0.7 to 0 .. 1 0.62.
    assert plain[:16] == pytest.approx([97, 159] * 8, abs=6)
    assert abs(np.diff(smooth[4:16])).max() < 0.5 * 62
    assert (plain[16], plain[17]) == pytest.approx((255, 255), abs=3)
    assert smooth[17] > 245


def test_uneven_times_are_kept(parser, tmp_path):
    times = [0, 0.033, 0.1, 0.4, 0.41, 1.0, 1.5]
    lines = parse(parser, write(tmp_path / "clip.mp4", drifting(7), times), tmp_path / "out")
    for found in ([line["time"] for line in lines], [f.time for f in frames(tmp_path / "out" / "clip.overlay.mp4")]):
        assert found == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize(("quarters", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_the_camera_was_turned(tmp_path, quarters, matrix):
    image = picture(20)
    image[:40, :60] = (200, 40, 40)
    clip = write(tmp_path / "clip.mp4", [image] * 2, options={"crf": "0"}, pixels="yuv420p")
    content = bytearray(clip.read_bytes())
    # ISO/IEC 14496-12, 8.3.2: the matrix of the track header lies 40 bytes behind its version (which is 0).
    at = content.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", content[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    a, b, c, d = (65536 * v for v in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(content)
    upright = frames(clip)[0].image.astype(int)
    np.testing.assert_allclose(upright, np.rot90(image, quarters), atol=60)
    for peer in (np.rot90(image, quarters), opencv_frames(clip)[0][0]):
        assert np.abs(upright - peer).mean() < 2


@pytest.mark.parametrize("size", [(65, 97), (64, 97), (65, 96)])
def test_odd_sizes(parser, tmp_path, size):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (5, 7, 1), dtype=np.uint8)  # grey: colours are kept at half the resolution
    image = cv2.resize(np.repeat(small, 3, 2), size[::-1], interpolation=cv2.INTER_CUBIC)
    source = write(tmp_path / "odd.mkv", [image] * 3, codec="ffv1", pixels="bgr0")
    assert all(np.array_equal(f.image, image) for f in frames(source))
    with VideoWriter(tmp_path / "odd.mp4", Fraction(30)) as video:
        for i in range(3):
            video.write(image, i / 30)
    seen = [f.image for f in frames(tmp_path / "odd.mp4")]
    assert {s.shape for s in seen} == {(size[0] + size[0] % 2, size[1] + size[1] % 2, 3)}
    assert np.abs(seen[1][: size[0], : size[1]].astype(int) - image).mean() < 2
    assert np.abs(image[:, 1:].astype(int) - image[:, :-1]).mean() > 2  # so a shift by one pixel would be seen
    assert len(parse(parser, source, tmp_path / "out")) == 3


@pytest.mark.parametrize("colour", [(210, 40, 40), (40, 190, 60), (30, 40, 200)])
def test_colours_are_kept(tmp_path, colour):
    with VideoWriter(tmp_path / "colour.mp4", Fraction(30)) as video:
        video.write(np.full((64, 64, 3), colour, np.uint8), 0.0)
    for image in (frames(tmp_path / "colour.mp4")[0].image, opencv_frames(tmp_path / "colour.mp4")[0][0]):
        assert np.abs(image.mean((0, 1)) - colour).max() < 4


def test_broken_frames_are_reported_and_keep_their_time(tmp_path, capsys):
    parser = FaceParser(GreyIsFace(batch=4), keypoints=KeypointConfig(n=16))
    clip = write(tmp_path / "clip.mp4", drifting(16), options=INTRA)
    damage(clip, [7, 8, 13])
    lines = parse(parser, clip, tmp_path / "out")
    assert [i for i, line in enumerate(lines) if "error" in line] == [7, 8, 13]
    assert all((lines[i]["faces"], lines[i]["error"][:12]) == ([], "Invalid data") for i in (7, 8, 13))
    assert [line["time"] for line in lines] == pytest.approx([i / 30 for i in range(16)], abs=1e-6)
    good = [i for i in range(16) if "error" not in lines[i]]
    np.testing.assert_allclose([nose(lines[i])[0] for i in good], [20 + DRIFT * i + 39.5 for i in good], atol=1.0)
    assert re.search(r"3 of 16 frames cannot be decoded \(Invalid data.*: 7, 8, 13\n", capsys.readouterr().err)
    annotated = [f.image.astype(int) for f in frames(tmp_path / "out" / "clip.overlay.mp4")]
    assert len(annotated) == 16
    change = [np.abs(b - a).mean() for a, b in pairwise(annotated)]
    assert max(change[6:8]) < 0.3 * min(change[8:12])  # 7 and 8 are 6 again, nearly: it is encoded anew

    schema = Draft202012Validator(json_schema())
    for line in lines[6:9]:
        schema.validate(line)
    (face,) = lines[6]["faces"]
    untracked = {key: value for key, value in face.items() if key != "track"}
    for change in ({"time": None}, {"frame": -1}, {"faces": [{**face, "track": "0"}]}, {"faces": [untracked]}):
        assert not schema.is_valid(lines[6] | change)
    assert not schema.is_valid(lines[7] | {"faces": lines[6]["faces"]})
    assert not schema.is_valid({key: value for key, value in lines[6].items() if key != "time"})


def test_a_broken_frame_among_reordered_ones(tmp_path):
    # With B frames, what is shown earlier is decoded later: 29 comes before 27.
    for lost in ([], [11], [29]):
        clip = write(tmp_path / "clip.mp4", drifting(30), options={"bf": "3"})
        damage(clip, lost)
        seen = frames(clip)
        assert [f.number for f in seen if f.image is None] == lost
        assert [f.time for f in seen] == pytest.approx([i / 30 for i in range(30)], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mkv", "libx264", "yuv420p"), ("a.mov", "libx265", "yuv420p10le"), ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"), ("a.avi", "mpeg4", "yuv420p"), ("a.mts", "libx264", "yuv420p"),
    ],
)  # fmt: skip
def test_other_containers_and_codecs(tmp_path, name, codec, pixels):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    clock = None if name == "a.avi" else CLOCK
    seen = frames(write(tmp_path / name, drifting(8), codec=codec, pixels=pixels, options=options, clock=clock))
    assert [f.error for f in seen] == [""] * 8
    assert [f.time for f in seen] == pytest.approx([i / 30 for i in range(8)], abs=1e-3)
    for frame, image in zip(seen, drifting(8), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 6


def test_frames_of_vp8_that_are_never_shown_are_not_missed(tmp_path):
    clip = write(tmp_path / "a.webm", [picture(20 + i * i) for i in range(9)], codec="libvpx", pixels="yuv420p")
    with av.open(clip) as container:
        (packet,) = [bytes(p) for p in container.demux(container.streams.video[0]) if p.pts == 133]
    content = clip.read_bytes()
    assert packet[0] & 0b10000
    assert content.count(packet) == 1
    clip.write_bytes(content.replace(packet, bytes([packet[0] & ~0b10000]) + packet[1:]))
    seen = frames(clip)
    assert [f.error for f in seen] == [""] * 8
    assert [f.time for f in seen] == pytest.approx([i / 30 for i in range(9) if i != 4], abs=1e-3)


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4"])
def test_a_truncated_clip_gives_what_it_has(parser, tmp_path, capsys, name):
    whole, clip = tmp_path / f"whole{name[3:]}", tmp_path / name
    if name == "cut.mp4":
        with VideoWriter(whole, Fraction(30)) as video:  # its index comes first
            for i, image in enumerate(drifting(30)):
                video.write(image, i / 30)
    else:
        write(whole, drifting(30), options=INTRA)
    clip.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    lines = parse(parser, clip, tmp_path / "out")
    good = [line for line in lines if "error" not in line]
    assert 5 < len(good) < 30
    np.testing.assert_allclose([nose(g)[0] for g in good], [20 + DRIFT * g["frame"] + 39.5 for g in good], atol=1.5)
    assert len(frames(tmp_path / "out" / "cut.overlay.mp4")) == len(lines)
    if name == "cut.mp4":
        assert f"the file ends {30 - len(lines)} frames early" in capsys.readouterr().err


def test_files_that_are_no_video_are_reported_in_one_line(parser, tmp_path, capsys):
    reasons = {
        "words.mp4": "Invalid data", "empty.mov": "Invalid data", "tiny.mp4": "16 x 16 pixels",
        "silent.mp4": "no pictures", "hopeless.mp4": "no frame can be decoded", "gone.mp4": "No such file",
    }  # fmt: skip
    (tmp_path / "words.mp4").write_text("no video " * 100)
    (tmp_path / "empty.mov").write_bytes(b"")
    write(tmp_path / "tiny.mp4", [picture(0, (16, 16))] * 2)
    with av.open(tmp_path / "silent.mp4", "w") as container:
        add_sound(container)
    damage(write(tmp_path / "hopeless.mp4", [picture()] * 4, options=INTRA), range(4))
    good = write(tmp_path / "good.mp4", [picture()] * 2)
    (out := tmp_path / "out").mkdir()
    failures = parse_videos(parser, list_jobs([*(tmp_path / name for name in reasons), good], out), None)
    for (name, reason), failure in zip(reasons.items(), failures, strict=True):
        assert failure.startswith(f"video {tmp_path / name}:")
        assert reason in failure
    skipped = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert skipped == [f"skipped: {failure}" for failure in failures]
    assert sorted(p.name for p in out.iterdir()) == ["good.jsonl", "good.overlay.mp4"]


def test_a_clip_that_cannot_be_encoded_is_that_videos_failure(parser, tmp_path, monkeypatch):
    videos = [write(tmp_path / name, [picture()] * 2) for name in ("a.mp4", "b.mp4")]
    encode = VideoWriter.write

    def refuse(self, image, time):
        if "a.overlay" in self._container.name:
            raise av.error.ExternalError(1, "Generic error in an external library")
        encode(self, image, time)

    monkeypatch.setattr(VideoWriter, "write", refuse)
    (out := tmp_path / "out").mkdir()
    (failure,) = parse_videos(parser, list_jobs(videos, out), None)
    assert "a.mp4: its clip cannot be encoded ([Errno 1] Generic error in an external library" in failure
    assert sorted(path.name for path in out.iterdir()) == ["b.jsonl", "b.overlay.mp4"]


def test_a_frame_too_large_for_the_memory_is_that_videos_failure(parser, tmp_path, monkeypatch):
    videos = [write(tmp_path / name, [picture()] * 2) for name in ("a.mp4", "b.mp4")]
    lacks = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 50331648 bytes")
    usual, errors = Stages.parse, iter([lacks])

    def parse(*arguments):
        for error in errors:
            raise error
        return usual(*arguments)

    monkeypatch.setattr(Stages, "parse", parse)
    (out := tmp_path / "out").mkdir()
    failures = parse_videos(parser, list_jobs(videos, out), None)
    assert failures == [f"video {videos[0]}: memory does not suffice for it; free some, or reduce it"]
    assert sorted(path.name for path in out.iterdir()) == ["b.jsonl", "b.overlay.mp4"]


def test_a_picture_larger_than_the_encoder_takes_is_reduced(tmp_path):
    with VideoWriter(tmp_path / "wide.mp4", Fraction(25)) as clip:
        clip.write(np.zeros((64, 20_000, 3), np.uint8), 0)
    with VideoReader(tmp_path / "wide.mp4") as video:
        assert [frame.image.shape for frame in video] == [(52, 16_384, 3)]


def test_a_stop_leaves_nothing_half_done(tmp_path):
    class Stops(GreyIsFace):
        def __call__(self, images):
            if len(self.calls) == 9:
                raise KeyboardInterrupt
            return super().__call__(images)

    clip = write(tmp_path / "clip.mp4", [picture()] * 20)
    (out := tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        parse_videos(FaceParser(Stops()), list_jobs([clip], out), None)
    assert list(out.iterdir()) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(parser, tmp_path, monkeypatch):
    clip = write(tmp_path / "clip.mp4", [picture(0, (40, 40))] * 40)
    read, ahead = [], []
    frames_of, put = VideoReader.__iter__, VideoWriter.write
    monkeypatch.setattr(VideoReader, "__iter__", lambda self: (read.append(1) or frame for frame in frames_of(self)))
    monkeypatch.setattr(VideoWriter, "write", lambda self, *a: ahead.append(len(read) - len(ahead)) or put(self, *a))
    parse(parser, clip, tmp_path / "out")
    assert len(ahead) == 40
    # Reading, tracing and drawing have each `PREFETCH` frames in progress, and the network has one.
    assert max(ahead) <= 3 * PREFETCH + 2


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "aac"), ("clip.mov", "pcm_s16le")])
@pytest.mark.slow
def test_sound_is_kept_in_time(parser, tmp_path, capsys, monkeypatch, name, codec):
    monkeypatch.setattr("facekp.cli.PROGRESS_AFTER", 0)
    clip = write(tmp_path / name, [picture()] * 30, sound=codec)
    parse(parser, clip, tmp_path / "out")
    assert "30 of 30" in capsys.readouterr().err  # progress, against what the file's header says
    kept = tmp_path / "out" / "clip.overlay.mp4"
    content = kept.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert len(frames(kept)) == 30
    with av.open(clip) as first, av.open(kept) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.codec_context.sample_rate) == ("aac", 48_000)
        if codec == "aac":  # copied as it is
            ours, theirs = ([bytes(p) for p in c.demux(c.streams.audio[0])] for c in (container, first))
            assert ours == theirs
    with av.open(kept) as container:
        heard = [(f.time, np.abs(f.to_ndarray()).max()) for f in container.decode(container.streams.audio[0])]
    # The tone begins at half a second, within a packet of 1024 samples.
    loud = [time for time, level in heard if level > 0.1]
    assert loud[0] == pytest.approx(0.5, abs=2.5 * 1024 / 48_000)
    assert heard[-1][0] > 0.9
    parse(parser, clip, tmp_path / "lines", overlay=False)
    assert [p.name for p in (tmp_path / "lines").iterdir()] == ["clip.jsonl"]


def test_pixels_that_are_not_square(parser, tmp_path):
    squeezed = [cv2.resize(image, (128, 160), interpolation=cv2.INTER_AREA) for image in drifting(3)]
    clip = write(tmp_path / "clip.mp4", squeezed, aspect=2)
    assert [f.image.shape for f in frames(clip)] == [(160, 256, 3)] * 3
    lines = parse(parser, clip, tmp_path / "out")
    assert (lines[0]["width"], lines[0]["height"]) == (256, 160)
    np.testing.assert_allclose([nose(line)[0] for line in lines], [59.5, 62.5, 65.5], atol=1.0)
    with av.open(tmp_path / "out" / "clip.overlay.mp4") as container:
        assert (container.streams.video[0].sample_aspect_ratio or 1) == 1
    damaged = write(tmp_path / "damaged.mp4", squeezed, aspect=1000)
    assert frames(damaged)[0].image.shape == (160, 128, 3)


def test_a_size_that_changes_is_reported_and_nothing_is_stretched(parser, tmp_path, capsys):
    (clip := tmp_path / "turned.mkv").write_bytes(jpegs(SIZE, SIZE, (320, 160), (320, 160)))
    lines = parse(parser, clip, tmp_path / "out")
    assert [(line["width"], line["height"]) for line in lines] == [(256, 160)] * 2 + [(160, 320)] * 2
    reported = "its pictures change their size (256 x 160, 160 x 320); the clip has the first"
    assert reported in capsys.readouterr().err
    with VideoWriter(tmp_path / "fitted.mp4", Fraction(25)) as video:
        video.write(np.zeros((160, 256, 3), np.uint8), 0)
        video.write(np.full((320, 160, 3), 255, np.uint8), 0.04)
    bright = np.argwhere(frames(tmp_path / "fitted.mp4")[1].image[..., 1] > 128)
    # It is 80 x 160 in 256 x 160, with 88 black columns on either side.
    np.testing.assert_allclose([bright.min(0), bright.max(0)], [(0, 88), (159, 167)], atol=1)


def test_an_alpha_is_smoothed_over_frames_of_one_size_alone(parser, tmp_path):
    # The turned pictures have as many pixels as the others.
    (clip := tmp_path / "turned.mkv").write_bytes(jpegs(*[SIZE] * 3, *[SIZE[::-1]] * 3))
    (mask,) = Alpha.open(FormatOptions(regions=["nose"]))
    for name, smoothing in (("plain", None), ("smooth", OneEuroConfig())):
        (out := tmp_path / name).mkdir()
        parse_videos(parser, list_jobs([clip], out), smoothing, overlay=False, mattes=[mask])
    plain, smooth = (opencv_frames(tmp_path / name / "turned.nose.alpha.mp4") for name in ("plain", "smooth"))
    assert len(plain) == 6
    for (one, _), (other, _) in zip(plain, smooth, strict=True):  # nothing moves, so nothing is smoothed
        assert np.abs(one.astype(int) - other).max() < 5


@pytest.mark.parametrize(("transfer", "level"), [(18, 0.75), (16, 0.5807)])
def test_hdr_is_brought_to_ordinary_colours(parser, tmp_path, capsys, transfer, level):
    # BT.2408, table 1: a white sheet is at 75 % of HLG and at 58 % of PQ, 203 cd/m2.
    clip = tmp_path / "hdr.mkv"
    with av.open(clip, "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9
        frame = av.VideoFrame(64, 64, "yuv420p10le")
        for plane, value in zip(frame.planes, (round(64 + 876 * level), 512, 512), strict=True):
            np.asarray(memoryview(plane)).view(np.uint16)[:] = value
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    # ffmpeg's "mobius" of 1 with a peak of 1000 / 203 and a knee of 0.3 is 0.679.
    # Colours have 8 bits before, which is coarse for PQ.
    np.testing.assert_allclose(frames(clip)[0].image, round(255 * 0.679 ** (1 / 2.2)), atol=5)
    parse(parser, clip, tmp_path / "out")
    assert f"hdr.mkv: HDR ({'HLG' if transfer == 18 else 'PQ'}), shown in" in capsys.readouterr().err


def test_tone_mapping_rises_and_keeps_grey():
    for transfer in CURVES:
        grey = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
        mapped = tone_map(grey, transfer)[0].astype(int)
        assert np.ptp(mapped, axis=1).max() <= 2
        assert np.diff(mapped[:, 0]).min() >= -1
        assert (mapped[0].tolist(), mapped[255].tolist()) == ([0] * 3, [255] * 3)


@pytest.mark.slow
def test_predict_takes_photos_and_videos(parser, tmp_path, monkeypatch, capsys):
    (source := tmp_path / "source").mkdir()
    out = tmp_path / "out"
    cv2.imwrite(str(source / "a.png"), picture())
    write(source / "a.mp4", drifting(2))
    write(source / "B.MOV", [picture()] * 2)
    (source / "words.mp4").write_text("no video")
    (source / "notes.txt").write_text("left alone")
    monkeypatch.setattr(FaceParser, "from_checkpoint", lambda *_, **__: parser)
    arguments = ["ckpt=shipped", f"source={source}", f"out={out}", "smooth=false"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "3 of 4 parsed" in printed.out
    assert "1 skipped, the first: video" in printed.err
    photo = ["a.png.json", "a.png.mask.png", "a.png.overlay.jpg"]
    clips = ["B.jsonl", "B.overlay.mp4", "a.mp4.jsonl", "a.mp4.overlay.mp4"]
    assert sorted(p.name for p in out.iterdir()) == sorted(photo + clips)
    with pytest.raises(DataError, match="without pictures or videos"):
        find_images(str(out))  # results are not taken for sources
    assert main(["ckpt=shipped", f"source={source / 'B.MOV'}", f"out={out}", "devices=2", "export=[json,csv]"]) == 0
    assert "export: csv: photos only" in capsys.readouterr().err


def test_without_pyav_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr("facekp.predict.sources.find_spec", lambda name: None)
    require_pyav([Path("a.jpg")])
    with pytest.raises(ConfigError, match=r"video b\.mp4: needs PyAV: pip install 'facekp\[video\]'"):
        require_pyav([Path("a.jpg"), Path("b.mp4")])

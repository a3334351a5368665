"""From an image to masks, key points and files, with networks whose scores are known."""

import json
import os
import sys
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers.shapes import HAIR, NOSE, BrightIsNose, picture
from PIL import Image

from facekp import FaceParser
from facekp.classes import CELEBAMASK_HQ
from facekp.errors import ConfigError, DataError
from facekp.hardware import resolve_device
from facekp.images import read_image
from facekp.keypoints.score_grid import mean_confidence, sum_on_grid
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.backends import open_backend
from facekp.parsing.face import face_from_mask
from facekp.parsing.inputs import to_array
from facekp.parsing.overlay import OPACITY, Style, _draw_points, draw_overlay
from facekp.predict.pipeline import PREFETCH, list_jobs, parse_files
from facekp.predict.results import Results
from facekp.predict.sources import find_images, output_names


@pytest.fixture
def parser():
    return FaceParser(BrightIsNose(), keypoints=KeypointConfig(n=16))


def test_mask_and_key_points_are_in_source_pixels(parser):
    # Twice the network's size; the square covers source pixels 128..319 in x and 64..255 in y.
    (face,) = parser(picture(512, 512, 64, 128, 192), align="none")
    assert (face.mask.shape, face.mask.dtype, {*np.unique(face.mask)}) == ((512, 512), np.uint8, {NOSE, HAIR})
    nose = face.attributes["nose"]
    assert nose.id == NOSE
    assert nose.area == np.count_nonzero(face.mask == NOSE) == pytest.approx(192**2, rel=0.02)
    assert nose.confidence == pytest.approx(1.0, abs=0.02)
    points = face.keypoints["nose"]
    assert (points.shape, points.dtype) == ((16, 2), np.float32)
    np.testing.assert_allclose(points.min(0), [127.5, 63.5], atol=2.5)
    np.testing.assert_allclose(points.max(0), [319.5, 255.5], atol=2.5)
    np.testing.assert_allclose(points[0], [223.5, 63.5], atol=2.5)
    assert "skin" not in face.attributes
    assert face.attributes["hair"].contours[1].hole


def test_oblong_images_keep_their_shape(parser):
    # Halved for the network; the square fills one cell of its coarsest head, and its centre is (287.5, 95.5).
    (face,) = parser(picture(128, 512, 64, 256, 64), align="none")
    assert face.mask.shape == (128, 512)
    outline = face.attributes["nose"].contours[0]
    np.testing.assert_allclose([outline.points[:, 0].min(), outline.points[:, 0].max()], [255.5, 319.5], atol=1)
    # Its lower side lies on the picture's border, which cuts it there: key points run down to it, but not along it.
    lower = outline.points[outline.cut]
    np.testing.assert_allclose(lower[:, 1], 127.5, atol=0.01)
    np.testing.assert_allclose([lower[0, 0], lower[-1, 0]], [319.5, 255.5], atol=2)
    x, y = face.keypoints["nose"].T
    assert np.all((abs(x - 255.5) < 1) | (abs(x - 319.5) < 1) | (y < 90))


def test_confidence_is_the_mean_softmax_over_the_mask():
    class Even(BrightIsNose):
        def __call__(self, images):
            maps = [np.zeros_like(scores) for scores in super().__call__(images)]
            maps[0][..., NOSE] = 1.0
            return maps

    (face,) = FaceParser(Even(size=64))(picture(64, 64, 0, 0, 8), align="none")
    assert face.attributes["nose"].confidence == pytest.approx(np.e / (np.e + 18), abs=1e-5)


def test_unknown_alignment_and_device_are_named(parser):
    with pytest.raises(ConfigError, match="align is 'eyes': choose one of none, auto"):
        parser(picture(64, 64, 0, 0, 8), align="eyes")
    for device in ("cuda:99", "meta"):  # the second is one of torch's, without values
        with pytest.raises(ConfigError, match=f"device is '{device}'"):
            resolve_device(device)


def test_faces_are_compared_by_identity_and_shown_in_a_line(parser):
    one, other = parser([picture(256, 256, 64, 64, 128)] * 2, align="none")
    nose, mark = one.attributes["nose"], one.landmarks["nose_base"]
    for own, twin in (
        (one, other),
        (nose, other.attributes["nose"]),
        (nose.contours[0], other.attributes["nose"].contours[0]),
        (mark, other.landmarks["nose_base"]),
    ):
        assert own == own  # an array has no truth value
        assert own != twin
        assert own in [twin, own]
        assert own not in [twin]
        assert hash(own) != hash(twin)
    assert repr(one) == "Face(256x256, 2 attributes, box=(0, 0, 256, 256))"
    said = f"Attribute(nose, area={nose.area}, confidence={nose.confidence:.2f}, 1 contour, 16 key points)"
    assert repr(nose) == said
    points, area = len(nose.contours[0].points), nose.contours[0].area
    assert repr(nose.contours[0]) == f"Contour({points} points, area={area:.0f})"
    assert repr(mark) == f"Landmark(nose_base, ({mark.xy[0]:.1f}, {mark.xy[1]:.1f}), hidden, confidence=0.00)"
    assert repr(one.landmarks["chin"]) == "Landmark(chin, absent, confidence=0.00)"


def test_a_notebook_shows_a_face_as_its_overlay(parser, tmp_path):
    photo = picture(600, 800, 200, 300, 250)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    for source in (photo, tmp_path / "photo.png"):
        (face,) = parser(source, align="none")
        assert face.image is source  # neither a copy nor the file's pixels are kept
        with Image.open(BytesIO(face._repr_png_())) as shown:
            assert shown.format == "PNG"
            assert shown.width > 800  # the legend is at its right
            np.testing.assert_array_equal(np.array(shown), draw_overlay(photo, [face]))
    blank = face_from_mask(face.mask, {NOSE: 1.0, HAIR: 1.0}, KeypointConfig())
    with Image.open(BytesIO(blank._repr_png_())) as shown:  # without a photo, on black
        assert shown.getpixel((400, 300)) == pytest.approx(np.multiply(OPACITY, CELEBAMASK_HQ.colours[NOSE]), abs=1)


def test_a_face_as_a_table_and_as_pictures(monkeypatch):
    mask = np.zeros((100, 80), np.uint8)
    mask[10:90, 10:70], mask[40:60, 30:50] = 1, 2
    face = face_from_mask(mask, {1: 0.8, 2: 0.9}, KeypointConfig(n=8))
    table = face.to_frame()
    points = table[table.kind == "keypoint"]
    assert points.name.tolist() == ["skin"] * 8 + ["nose"] * 8
    assert points["index"].tolist() == [*range(8), *range(8)]
    np.testing.assert_array_equal(points[["x", "y"]][8:], face.keypoints["nose"])
    assert points.confidence.tolist() == [0.8] * 8 + [0.9] * 8
    marks = table[table.kind == "landmark"]
    assert set(marks.name) == {name for name, mark in face.landmarks.items() if mark.visible and mark.xy is not None}
    assert marks.name.isin(face.landmarks).all()
    assert marks["index"].tolist() == [face.landmarks[name].number for name in marks.name]

    opened = []
    monkeypatch.setattr(Image.Image, "show", lambda picture: opened.append(picture))
    style = Style(opacity=1, outlines=False, keypoints=False, legend=False)
    shown = face.show(style)
    assert np.array(shown)[384, 307].tolist() == list(CELEBAMASK_HQ.colours[2])  # the middle, enlarged to 768
    assert shown.size == face.overlay(style).size == (614, 768)
    monkeypatch.setattr("builtins.__IPYTHON__", True, raising=False)  # in a notebook, the cell displays it
    face.show(style)
    assert opened == [shown]


def test_all_but_the_first_argument_have_names_and_a_path_belongs_to_from_checkpoint(parser):
    for call, arguments in (
        (FaceParser, (BrightIsNose(), KeypointConfig())),
        (FaceParser.from_checkpoint, ("shipped", "cpu")),
        (open_backend, ("shipped", "torch")),
        (parser, (picture(64, 64, 0, 0, 8), "none")),
    ):
        with pytest.raises(TypeError, match="positional"):
            call(*arguments)
    with pytest.raises(TypeError, match=r"open 'best\.ckpt' with FaceParser\.from_checkpoint"):
        FaceParser("best.ckpt")


def test_images_of_one_size_run_in_batches_and_keep_their_names(tmp_path):
    parser = FaceParser(BrightIsNose(batch=2))
    sides = {"a": 32, "b": 64, "c": 96, "d": 128, "e": 160}  # of the white square, which tells the pictures apart
    for name, side in sides.items():
        height = 128 if name == "d" else 256
        Image.fromarray(picture(height, 256, 0, 0, side)).save(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    assert parse_files(parser, list_jobs(find_images(str(tmp_path)), out), Results(out, ["mask"])) == []
    assert parser.stages.backend.calls == [2, 1, 1, 1]  # a b, c, d, which has another size, e
    together = dict(zip(sides, parser([tmp_path / f"{name}.png" for name in sides], align="none"), strict=True))
    assert parser.stages.backend.calls[4:] == [2, 1, 1, 1]
    for name, side in sides.items():
        (alone,) = FaceParser(BrightIsNose())(tmp_path / f"{name}.png", align="none")
        with Image.open(out / f"{name}.mask.png") as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.array(mask), alone.mask)
            assert tuple(mask.getpalette()[3 * NOSE : 3 * NOSE + 3]) == CELEBAMASK_HQ.colours[NOSE]
        np.testing.assert_array_equal(together[name].mask, alone.mask)
        assert np.count_nonzero(alone.mask == NOSE) == pytest.approx(side**2, rel=0.2)


def test_images_under_way_follow_the_cores(tmp_path, monkeypatch):
    parser, together = FaceParser(BrightIsNose(size=32)), threading.Barrier(9)
    look = parser.stages.look
    monkeypatch.setattr("torch.get_num_threads", lambda: 9)
    monkeypatch.setattr(parser.stages, "look", lambda *image: (together.wait(10), look(*image))[1])
    for i in range(9):
        Image.fromarray(picture(32, 32, 0, 0, 16)).save(tmp_path / f"{i}.png")
    out = tmp_path / "out"
    assert parse_files(parser, list_jobs(find_images(str(tmp_path)), out), Results(out, ["mask"])) == []


def test_few_images_are_under_way_at_a_time(tmp_path):
    # 50 readable images: reading must wait for writing, or 10,000 would fill the memory.
    ahead, traced = [], []
    parser = FaceParser(BrightIsNose(size=32))
    look, trace = parser.stages.look, parser.stages.trace
    parser.stages.look = lambda *given: (ahead.append(len(ahead) + 1 - len(traced)), look(*given))[1]
    parser.stages.trace = lambda scene: (trace(scene), traced.append(1))[0]
    Image.fromarray(picture(32, 32, 0, 0, 16)).save(tmp_path / "0.png")
    for i in range(1, 50):
        (tmp_path / f"{i}.png").symlink_to(tmp_path / "0.png")
    out = tmp_path / "out"
    parse_files(parser, list_jobs(find_images(str(tmp_path)), out), Results(out, ["mask"]))
    assert len(traced) == 50
    assert max(ahead) <= 3 * PREFETCH + 4


def test_sources(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.jpg", "._b.jpg"):  # the last as macOS copies it
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in find_images(str(tmp_path))] == ["a.PNG", "b.jpg"]
    assert [p.name for p in find_images(str(tmp_path / "b.jpg"))] == ["b.jpg"]
    assert [p.name for p in find_images(str(tmp_path / "**/*.jpg"))] == ["b.jpg", "c.jpg"]
    with pytest.raises(DataError, match=r"missing/\*\*': no such file or folder"):
        find_images(str(tmp_path / "missing" / "**"))
    for missing in ("none", "*.gif"):
        with pytest.raises(DataError, match="no file matches it"):
            find_images(str(tmp_path / missing))
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
        find_images("a" * 300)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="without pictures"):
        find_images(str(tmp_path / "empty"))


def test_results_of_images_with_one_name_do_not_overwrite_each_other():
    assert output_names([Path("x/1.jpg"), Path("y/1.jpg"), Path("2.png")]) == ["x_1.jpg", "y_1.jpg", "2"]
    assert len({*output_names([Path(p) for p in ("x_y/1.jpg", "z/1.jpg", "x/y_1.jpg", "z/y_1.jpg")])}) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_name_that_is_no_text_is_parsed_too(parser, tmp_path):
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.png"))
    Image.fromarray(picture(64, 64, 0, 0, 32)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(path)
    out = tmp_path / "out"
    assert parse_files(parser, list_jobs([path], out), Results(out, ["json"])) == []
    (content,) = out.glob("*.json")
    assert json.loads(content.read_text())["source"].endswith("/caf\ufffd.png")


def test_grey_values_keep_the_upper_8_of_their_bits(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("facekp.images._reported", set())
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (40, 1))
    for name in ("sixteen.png", "sixteen.tif"):
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name), np.dstack([grey] * 3))
    assert capsys.readouterr().err == ""
    for bits, largest, reported in ((10, 1023, True), (12, 1024, True), (12, 4095, False), (16, 4096, False)):
        values = np.tile(np.linspace(0, largest, 64).astype(np.uint16), (40, 1))
        Image.fromarray(values).save(tmp_path / "microscope.tif")
        for image in (tmp_path / "microscope.tif", values):
            np.testing.assert_array_equal(to_array(image)[..., 1], values >> (bits - 8))
        said = f"image {tmp_path / 'microscope.tif'}: 16-bit values that fit into {bits} bits are read as {bits} bits"
        assert capsys.readouterr().err == f"{said}; further ones are not reported\n" * reported


def test_key_points_are_never_those_of_a_hole():
    mask = np.zeros((200, 200), np.uint8)
    mask[20:180, 20:180] = HAIR
    mask[22:178, 22:178] = 0  # a frame of 1,264 pixels around a hole of 24,336
    faces = [face_from_mask(mask, dict.fromkeys(range(19), 1.0), KeypointConfig(min_area=a)) for a in (0.01, 0.1)]
    assert [list(face.attributes) for face in faces] == [["hair"], []]
    assert not faces[0].attributes["hair"].contours[0].hole


def test_a_class_that_wins_between_pixels_only_is_not_sure():
    # Skin is second in both pixels and first halfway between them: 9 against (10 - 10) / 2.
    scores = np.zeros((1, 2, 19), np.float32)
    scores[..., NOSE], scores[..., HAIR], scores[..., 1] = [[10.0, -10.0]], [[-10.0, 10.0]], [[9.0, 9.0]]
    confidence = mean_confidence(sum_on_grid([scores]))
    odds = np.exp(10) + np.exp(9) + np.exp(-10) + 16
    assert confidence[NOSE] == pytest.approx(np.exp(10) / odds, rel=1e-5)
    assert confidence[1] == pytest.approx(np.exp(9) / odds, rel=1e-5)


def test_dots_shrink_rather_than_touch():
    # Rims have 0.42 of a unit of 20, 8.4 pixels, of which 0.42 * 10 = 4.2 are left where the dots are 10 apart.
    points = np.array([(20, 20), (30, 20), (40, 20)], dtype=np.float64)
    for apart, rim in ((1, 4.2), (10, 8.4)):
        canvas = np.full((60, 460, 3), 255, dtype=np.uint8)
        _draw_points(canvas, points * (apart, 1), 1.0, (200, 0, 0), 20.0)
        column = (canvas[:, 20 * apart] < 255).any(-1)
        assert column.sum() == pytest.approx(2 * rim + 1, abs=2)  # the centre, and a soft edge at either end

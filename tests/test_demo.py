"""What the page shows and saves, worked out by hand; and the page itself in Chromium."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.shapes import HAIR, NOSE, BrightIsNose, picture
from PIL import Image

import facekp
from facekp import FaceParser
from facekp.demo import __main__ as command
from facekp.demo import views
from facekp.demo.views import ALL, Parsed
from facekp.errors import ConfigError, DataError
from facekp.formats.base import FormatOptions, all_formats
from facekp.parsing.overlay import Style

SWITCHES = "outlines", "keypoints", "landmarks", "names"
BARE = Style(opacity=0, outlines=False, keypoints=False, legend=False)
SQUARE = picture(256, 256, 64, 96, 96)
"""White, therefore a nose, in columns 96 to 191 and rows 64 to 159; hair around it."""


class WholePhotos:
    """Parses each photo as one face."""

    def __init__(self):
        self.parser = FaceParser(BrightIsNose())

    def __call__(self, image):
        return self.parser(image, align="none")


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "a square.png"
    Image.fromarray(SQUARE).save(path)
    return views.parse_photo(WholePhotos(), path)


def test_fewer_key_points_lie_on_the_same_outlines(square):
    (face,) = square.faces
    (fewer,) = square.chosen(ALL, 8)
    assert {name: points.shape for name, points in fewer.keypoints.items()} == {"nose": (8, 2), "hair": (8, 2)}
    np.testing.assert_allclose(fewer.keypoints["nose"], face.keypoints["nose"][::4], atol=1e-3)  # every fourth of 32
    # Each of several faces can be chosen.
    two = Parsed(square.photo, [face, replace(face, box=(0.0, 0.0, 1.0, 1.0))])
    assert two.choices == ["all", "1", "2"]
    assert [face.box[2] for face in two.chosen("2", 8)] == [1.0]
    assert two.chosen(ALL) == two.faces


def test_the_view_names_what_it_shows(square):
    hovered = views.drawn_view(square, square.faces, Style())
    assert re.findall(r'data-name="(\w+)  1.00"', hovered) == ["nose", "hair"]
    assert 'viewBox="0 0 256 256"' in hovered
    assert not re.search("<rect|<circle", hovered)  # the only face
    assert views.drawn_view(square, square.faces, Style(landmarks=True)).count("<circle") == 9  # of the nose
    assert "<rect" in views.drawn_view(Parsed(square.photo, square.faces * 2), square.faces, Style())


def test_each_switch_changes_the_picture(square):
    before, bare = views.before_and_after(square, square.faces, BARE)
    np.testing.assert_array_equal(bare, before)
    styles = [replace(BARE, opacity=0.5), *(replace(BARE, **{name: True}) for name in SWITCHES)]
    pictures = [views.before_and_after(square, square.faces, style)[1] for style in styles]
    assert len({picture.tobytes() for picture in (bare, *pictures)}) == 6
    # Black hair and its colour, half each.
    assert pictures[0][700, 100].tolist() == [115, 60, 10]


def test_the_table_has_every_attribute(square):
    table = views.attribute_table(square, square.faces)
    nose, hair = re.findall(r"</i>(\w+)</td><td title=\"(\S+) %[^>]*>([\d,]+)<", table)
    assert (nose[:2], hair[:2]) == (("nose", "14"), ("hair", "86"))
    pixels = [int(row[2].replace(",", "")) for row in (nose, hair)]
    assert sum(pixels) == 256**2
    assert pixels[0] == pytest.approx(96**2, rel=0.02)  # its corners are rounded
    assert re.findall("<td>(cut|visible)</td>", table) == ["visible", "cut"]


def test_recolouring_stays_within_the_soft_mask():
    grey, alpha = np.full((8, 8, 3), 128, np.uint8), np.zeros((8, 8), np.uint8)
    alpha[2:6, 2:4], alpha[2:6, 4:6] = 255, 51
    red = views.recoloured(grey, alpha, "rgba(255, 0, 0, 1)", 1)
    np.testing.assert_array_equal(red[alpha == 0], 128)
    # Grey 128 has lightness 53.6, red 53.2: the mean is red, but for rounding.
    np.testing.assert_allclose(red[3, 2], (255, 0, 0), atol=2)
    # A fifth of the way in CIELAB: 53.5, 16.0, 13.4.
    np.testing.assert_allclose(red[3, 4], (162, 117, 106), atol=2)
    np.testing.assert_array_equal(views.recoloured(grey, alpha, "#ff0000", 0), grey)
    np.testing.assert_array_equal(views.recoloured(grey, 0 * alpha, "#ff0000", 1), grey)


def test_a_cut_out_shows_the_region_alone(square):
    cut = views.cut_out(square, square.faces, FormatOptions(["nose"]))
    assert (cut.shape, cut[110, 140].tolist(), cut[220, 140, 3]) == ((256, 256, 4), [255] * 4, 0)
    wider = views.cut_out(square, square.faces, FormatOptions(["nose"], grow=10))
    assert 0.5 < ((wider[..., 3] > 127).sum() - 96**2) / (4 * 10 * 96) < 1.2


def test_files_are_those_of_predict(square, tmp_path):
    made = views.save_files(square, square.faces, BARE, list(all_formats()), FormatOptions(["nose"]), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in made] == [
        "a square.json", "a square.mask.png", "a square.nose.alpha.png", "a square.nose.cutout.png",
        "a square.nose.region.png", "a square.overlay.jpg", "a square.svg", "annotations.json", "keypoints.csv",
        "labelme/a square.json",
    ]  # fmt: skip
    assert np.unique(np.array(Image.open(tmp_path / "a square.mask.png"))).tolist() == [NOSE, HAIR]
    assert json.loads((tmp_path / "a square.json").read_text())["source"] == "a square.png"
    assert json.loads((tmp_path / "annotations.json").read_text())["images"][0]["file_name"] == "a square.png"
    drawing = (tmp_path / "a square.svg").read_text()
    assert re.findall('xlink:href="([^,"]*)', drawing) == ["data:image/jpeg;base64"]
    assert Image.open(tmp_path / "a square.overlay.jpg").size == (768, 768)


@pytest.mark.parametrize("choice", [ALL, "1"])
def test_the_code_to_copy_runs(square, choice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(facekp, "FaceParser", lambda keypoints: lambda photo: square.chosen(ALL, keypoints.n))
    Image.fromarray(SQUARE).save("a square.png")
    style, names = Style(opacity=0.3, names=True), {}
    exec(views.python_call("a square.png", choice, 12, style, FormatOptions(["nose", "hair"], 0.01, -0.02)), names)
    assert len(names["attribute"].keypoints) == 12
    assert names["alpha"].shape == (256, 256)
    assert names["style"] == style
    assert Image.open("overlay.png").size[1] == 768


def test_problems_are_said_in_words(tmp_path, monkeypatch):
    path = tmp_path / "broken.jpg"

    def refused(message, parser=None):
        with pytest.raises(DataError, match=message):
            views.parse_photo(parser or WholePhotos(), path)

    path.write_bytes(b"not a picture")
    refused(r"^broken.jpg: cannot be read \(not a picture\); choose a JPEG, PNG or WebP$")
    Image.new("RGB", (20, 40)).save(path)
    refused(r"^broken.jpg: 20 x 40 pixels, need at least 32 x 32$")
    Image.new("RGB", (40, 40)).save(path)
    refused(r"^no face was found in broken.jpg; ", lambda image: [])
    monkeypatch.setattr(views, "MAX_PIXELS", 1500)
    refused(r"^broken.jpg is too large: ")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # Pillow refuses twice as many
    refused(r"^broken.jpg is too large: ")


def test_the_command_names_the_extra(monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'facekp\[demo\]'"):
        command.main([])


@pytest.mark.slow
def test_the_app_of_a_space_serves_the_page(monkeypatch):
    page = pytest.importorskip("facekp.demo.page", reason="needs the extra demo")
    served = []
    monkeypatch.setattr(page, "serve", lambda parser, **place: served.append((parser, place)))
    monkeypatch.setattr(facekp, "FaceParser", lambda: "parser")
    guide = (REPOSITORY / "docs/guides/page.md").read_text(encoding="utf-8")
    exec(re.search(r'title="app.py"\n(.*?)```', guide, re.DOTALL)[1], {})
    assert served == [("parser", {"host": "0.0.0.0", "port": 7860})]

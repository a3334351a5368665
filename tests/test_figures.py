"""The paper's figures and the overlay, of photos and scores with known numbers."""

import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from PIL import Image

from facekp import FaceParser
from facekp.classes import CELEBAMASK_HQ
from facekp.errors import CheckpointError, ConfigError, DataError
from facekp.figures.__main__ import main
from facekp.figures.draw import (
    BLUE,
    RED,
    class_scores,
    crop_face,
    draw_heads,
    draw_key_points,
    draw_surface,
    read_landmarks,
)
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import face_from_mask
from facekp.parsing.face_crop import Crop
from facekp.parsing.overlay import OPACITY, draw_overlay
from facekp.parsing.scenes import Scene, View

PALETTE = CELEBAMASK_HQ.colours

SKIN, NOSE, HAIR, CLOTH = 1, 2, 13, 18


class Known:
    """A network of 64 pixels whose score of class c is c at stride 8, 100 c at 16 and 10,000 c at 32, with a slope."""

    size, batch, streams, classes = 64, 1, 1, CELEBAMASK_HQ

    def __call__(self, images):
        n, height, width, _ = images.shape
        maps = []
        for stride, factor in ((8, 1), (16, 100), (32, 10_000)):
            y, x = np.mgrid[: height // stride, : width // stride]
            one = factor * np.arange(19) + 0.01 * (x + 10 * y)[..., None]
            maps.append(np.repeat(one[None], n, 0).astype(np.float32))
        return maps


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)


@pytest.fixture
def scores(photo):
    """Return the score maps of the nose, and their sum."""
    return class_scores(FaceParser(Known()), photo, "nose")


def parsed(height, width, patches):
    """Return the face of a mask with rectangles (id, top, bottom, left, right)."""
    mask = np.zeros((height, width), np.uint8)
    for class_id, top, bottom, left, right in patches:
        mask[top:bottom, left:right] = class_id
    return face_from_mask(mask, dict.fromkeys(range(19), 0.5), KeypointConfig(n=8))


def images_of(figure):
    """Return what each panel shows, by title."""
    return {panel.get_title(): panel.get_images()[0] for panel in figure.axes if panel.get_images()}


def surface(figure):
    (found,) = (c for panel in figure.axes for c in panel.collections if isinstance(c, Poly3DCollection))
    return found


def test_scores_of_a_class_are_the_heads_own_and_their_sum(scores):
    heads, total = scores
    # The photo's longer side becomes 64 pixels; its shorter one, 48, is rounded to a multiple of 32: 64 too.
    assert [values.shape for values in heads] == [(8, 8), (4, 4), (2, 2)]
    assert heads[0][3, 5] == pytest.approx(2 + 0.01 * 35)
    assert heads[2][1, 0] == pytest.approx(20_000.1, rel=1e-6)
    bilinear = [cv2.resize(values, (64, 64), interpolation=cv2.INTER_LINEAR) for values in heads]
    np.testing.assert_allclose(total, sum(bilinear), rtol=1e-6)


def test_the_panels_show_the_heads_scores_in_one_range_and_their_sum(photo, scores):
    (heads, total), figure = scores, draw_heads(photo, "nose", *scores)
    panels = images_of(figure)
    assert list(panels) == ["photo", "stride 8 (8 x 8)", "stride 16 (4 x 4)", "stride 32 (2 x 2)", "sum"]
    for picture, values in zip(panels.values(), [photo, *heads, total], strict=True):
        np.testing.assert_array_equal(picture.get_array(), values)
        assert tuple(picture.get_extent()) == (-0.5, 127.5, 95.5, -0.5)  # a pixel's centre is a whole number
    _, *shared, own = (picture.get_clim() for picture in panels.values())
    # From the lowest score, class 2's at stride 8, to the highest, at stride 32.
    np.testing.assert_allclose(shared, [(2, 20_000.11)] * 3, rtol=1e-6)
    assert own == pytest.approx((total.min(), total.max()))
    labels = [panel.get_xlabel() for panel in figure.axes]
    assert labels == ["x (pixels)"] * 5 + ["score of nose by head (logit)", "summed score (logit)"]


@pytest.mark.slow
def test_wide_photos_are_stacked_and_no_figure_is_wider_than_a_page():
    head, total = np.zeros((4, 20), np.float32), np.eye(32, 160, dtype=np.float32)
    for size, rows in (((96, 96), 1), ((30, 400), 3), ((400, 30), 1)):
        figure = draw_heads(np.zeros((*size, 3), np.uint8), "nose", [head], total)
        assert figure.get_figwidth() == 7.2
        assert figure.get_figheight() <= 8.8
        figure.draw_without_rendering()
        assert len({round(panel.get_position().y0, 3) for panel in figure.axes[:3]}) == rows


def test_the_surface_stands_at_the_summed_scores(photo, scores):
    _, z = scores
    figure = draw_surface(photo, "nose", z)
    axes = surface(figure).axes
    # 64 x 64 scores are all drawn: 63 x 63 faces, each coloured by the mean of its corners.
    means = cv2.blur(z.astype(float), (2, 2))[1:, 1:]
    np.testing.assert_allclose(surface(figure).get_array(), means.ravel(), rtol=1e-6)
    # The first and the last score lie in the middle of their pixels, which are 2 wide and 1.5 high in the photo.
    assert axes.xy_dataLim.intervalx.tolist() == pytest.approx([0.5, 126.5])
    assert axes.xy_dataLim.intervaly.tolist() == pytest.approx([0.25, 94.75])
    assert axes.zz_dataLim.intervalx.tolist() == pytest.approx([z.min(), z.max()])
    assert axes.get_ylim() == (96, 0)
    assert axes.get_zlabel() == "score (logit)"


def test_a_fine_surface_keeps_every_nth_score(photo):
    total = np.arange(200 * 200, dtype=np.float32).reshape(200, 200)
    drawn = surface(draw_surface(photo, "nose", total)).get_array()
    kept = total[1::3, 1::3]  # 67 a side
    assert (len(drawn), drawn[0]) == (66 * 66, pytest.approx(kept[:2, :2].mean()))


def test_key_points_are_blue_and_a_detectors_red_where_they_are(photo):
    face = parsed(96, 128, [(SKIN, 10, 80, 20, 100), (NOSE, 40, 60, 50, 70)])
    landmarks = np.array([[30.5, 40.25], [90.0, 12.0]], np.float32)
    figure = draw_key_points(photo, face, landmarks)
    masks, points = figure.axes
    blue, red = points.collections
    np.testing.assert_allclose(blue.get_offsets(), np.concatenate([face.keypoints["skin"], face.keypoints["nose"]]))
    np.testing.assert_allclose(red.get_offsets(), landmarks)
    assert tuple(blue.get_facecolor()[0][:3]) == to_rgb(BLUE)
    assert tuple(red.get_edgecolor()[0][:3]) == to_rgb(RED)
    assert [text.get_text() for text in points.get_legend().get_texts()] == ["key points (16)", "landmark detector (2)"]
    # The masks: the photo in the nose's colour at its opacity, and as it was in the background.
    shown = masks.get_images()[0].get_array()
    np.testing.assert_allclose(shown[50, 60], (1 - OPACITY) * photo[50, 60] + OPACITY * np.array(PALETTE[NOSE]), atol=1)
    np.testing.assert_array_equal(shown[5, 5], photo[5, 5])
    patches = masks.get_legend()
    assert [text.get_text() for text in patches.get_texts()] == ["skin", "nose"]
    assert patches.get_patches()[1].get_facecolor()[:3] == pytest.approx(np.divide(PALETTE[NOSE], 255))
    (none,) = draw_key_points(photo, parsed(96, 128, [])).axes[1].collections
    assert len(none.get_offsets()) == 0


def test_landmarks_are_read_by_the_photos_name(tmp_path):
    for name, photo in product(("00022", "22"), ("photos/00022.jpg", "22.png")):
        (tmp_path / "a.csv").write_text(f"id,x0,y0,x1,y1\n7,0,0,0,0\n{name},1,2,3.5,4\n")
        assert read_landmarks(tmp_path / "a.csv", Path(photo)).tolist() == [[1, 2], [3.5, 4]]


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3\n4,5,6\n", "x,y\n1,2\n", "id,x0,y0\nphoto,1\n", "id,x0,y0\nphoto,1,nan\n", "id,x0,y0\nphoto,a,b\n",
     "id,x0\nphoto,1\n", "\xff\xfe", "id,x0,y0\njohn,1,2\n", None],
)  # fmt: skip
def test_a_file_without_landmarks_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"landmarks '.*a.csv': cannot be read \(.*\); give a CSV"):
        read_landmarks(tmp_path / "a.csv", Path("photo.jpg"))


@pytest.mark.parametrize("kind", ["png", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("svg", "pdf"))])
def test_the_command_writes_three_figures(photo, tmp_path, monkeypatch, capsys, kind):
    saved, savefig = {}, Figure.savefig

    def spy(figure, path, **settings):
        saved[re.sub(r"^\.|(\.\d+)?\.part$", "", path.name)] = figure
        savefig(figure, path, **settings)

    monkeypatch.setattr(Figure, "savefig", spy)
    monkeypatch.setattr(FaceParser, "from_checkpoint", lambda *_, **__: FaceParser(Known()))
    Image.fromarray(photo).save(tmp_path / "7.png")
    (tmp_path / "points.csv").write_text("id,x0,y0\n00007,31.5,15.5\n")
    names, contents = [f"7.hair.heads.{kind}", f"7.hair.surface.{kind}", f"7.points.{kind}"], []
    settings = [f"source={tmp_path}/7.png", "class=hair", "dpi=60", "align=none", f"format={kind}"]
    for out in [tmp_path / "one", tmp_path / "two"][: 1 if kind == "png" else 2]:
        main([*settings, f"landmarks={tmp_path}/points.csv", "landmarks_size=64", f"out={out}"])
        assert sorted(path.name for path in out.iterdir()) == names
        assert capsys.readouterr().out.split() == [str(out / name) for name in names]
        contents.append([(out / name).read_bytes() for name in names])
    assert contents[0] == contents[-1]  # they do not say when they were made
    # Text stays text, and fonts are TrueType.
    assert {"png": b"PNG", "svg": b"score of hair by head (logit)</text>", "pdf": b"/FontFile2"}[kind] in contents[0][0]
    if kind == "png":
        assert Image.open(tmp_path / "one" / names[0]).width == 7.2 * 60
    # From a picture of 64 pixels to the photo of 128: the middle between two pixels stays the middle of four.
    (point,) = saved[names[2]].axes[1].collections[1].get_offsets()
    assert point.tolist() == pytest.approx([63.5, 31.5])
    assert images_of(saved[names[0]])["stride 16 (4 x 4)"].get_array()[1, 2] == pytest.approx(1300 + 0.01 * 12)


def test_a_face_in_a_photo_is_drawn_in_its_frame_and_a_detectors_points_move_along(photo):
    # A square of 40 pixels, turned by a quarter, clockwise as seen: its top left corner is the photo's (80, 20), and
    # from there its upper edge goes down.
    crop = Crop(80 + 20j, 40j)
    # Not searched, so that no scores are needed to confirm it.
    stages = SimpleNamespace(look=lambda image, align: Scene(image, (View(crop, image),)), parse=lambda scenes: scenes)
    # The photo's pixel (x, y) = (79, 20) is the picture's first; (50, 55) lies 35 along its upper edge, 29 below it.
    points = np.array([[79, 20], [50, 55]], np.float32)
    picture, moved = crop_face(SimpleNamespace(stages=stages), photo, points, Path("photo.jpg"))
    np.testing.assert_array_equal(picture, np.rot90(photo[20:60, 40:80]))
    assert moved.tolist() == [[0, 0], [35, 29]]
    stages.look = lambda image, align: Scene(image)
    with pytest.raises(DataError, match=r"image blank.jpg: no face found; align=none treats the whole photo"):
        crop_face(SimpleNamespace(stages=stages), photo, None, Path("blank.jpg"))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ("class=noes", ConfigError, "class is 'noes': choose one of background, skin, nose, "),
        ("class=", ConfigError, "class is empty: give class="),
        ("format=gif", ConfigError, "format is 'gif': choose one of png, svg, pdf"),
        ("dpi=5", ConfigError, "dpi is 5: give a number from 50 to 1200"),
        ("source=none.png", DataError, r"image none.png: cannot be read"),
        ("landmarks=points.csv", DataError, r"points.csv': cannot be read \(0 rows for the photo 'a' among 1"),
        ("ckpt=net.ckpt", CheckpointError, "net.ckpt"),
        ("ckpt=net.onnx", CheckpointError, "net.onnx"),
        ("ckpt=none.onnx", CheckpointError, "none.onnx"),
    ],
)
def test_mistakes_are_named(tmp_path, photo, monkeypatch, change, kind, message):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("a.png")
    for name in ("net.ckpt", "net.onnx"):
        Path(name).write_bytes(b"no network")
    Path("points.csv").write_text("id,x0,y0\nb,1,2\n")
    with pytest.raises(kind, match=message):
        main(["source=a.png", "out=out", change])
    assert not Path("out").exists()


def test_the_help_calls_the_class_by_its_name(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"^  class +str +nose +the class whose scores are drawn$", capsys.readouterr().out, re.MULTILINE)


def flat(height, width, patches):
    """Return a grey photo and the face that its patches make."""
    return np.full((height, width, 3), 100, np.uint8), parsed(height, width, patches)


def test_masks_are_tinted_and_every_part_has_its_outline():
    # Two parts of hair; key points lie on the larger one only.
    photo, face = flat(800, 800, [(HAIR, 100, 500, 100, 500), (HAIR, 600, 700, 600, 700)])
    overlay = draw_overlay(photo, [face])
    tint = np.round(0.55 * 100 + 0.45 * np.array(PALETTE[HAIR]))
    for inside in ((300, 300), (650, 650)):
        np.testing.assert_allclose(overlay[inside], tint, atol=1)
    np.testing.assert_array_equal(overlay[50, 50], 100)
    # The small part's upper border lies between rows 599 and 600; a line of 1 pixel covers half of both.
    edge = overlay[598:602, 650].astype(float)
    towards = np.linalg.norm(edge - PALETTE[HAIR], axis=1) / np.linalg.norm(tint - PALETTE[HAIR])
    assert towards[1:3].min() < 0.6
    np.testing.assert_array_equal(edge[0], 100)


@pytest.mark.parametrize(
    ("size", "grown", "below"),
    [((256, 256), (768, 768), False), ((1000, 1500), (1000, 1500), False), ((300, 4000), (300, 4000), True),
     ((32, 256), (96, 768), True), ((256, 32), (768, 96), False)],
)  # fmt: skip
def test_the_legend_names_every_attribute_legibly_beside_or_below_the_photo(size, grown, below):
    height, width = size
    ids, columns = range(1, 19), np.linspace(0, width, 19).round().astype(int)
    photo, face = flat(height, width, [(i, 0, height, columns[i - 1], columns[i]) for i in ids])
    assert len(face.attributes) == 18
    overlay = draw_overlay(photo, [face])
    assert overlay.shape == draw_overlay(photo, []).shape  # so all frames of a video are of one size
    panel = overlay[grown[0] :] if below else overlay[:, grown[1] :]
    assert panel.shape[below] == grown[below]
    line = max(18.0, 0.034 * np.sqrt(grown[0] * grown[1]))
    for i in ids:  # a square of 0.7 lines of each colour, whole
        same = (panel == PALETTE[i]).all(2)
        assert same.sum() == pytest.approx((0.7 * line - 1) ** 2, rel=0.2)  # within its border
    np.testing.assert_array_equal(panel[:, -2:], 250)  # no text runs over the edge
    np.testing.assert_array_equal(panel[-2:], 250)


def test_dots_follow_the_photos_area_not_its_longer_side():
    # A hundredth of sqrt(300 * 4000) is 10.95, of which the rim has 0.42: 4.6 pixels to either side of the centre.
    photo, face = flat(300, 4000, [(CLOTH, 100, 200, 500, 3500)])
    overlay = draw_overlay(photo, [face])
    x, y = face.keypoints["cloth"][0].round().astype(int)
    dark = (overlay[y - 40 : y + 40, x] < 60).all(1)
    assert dark.nonzero()[0].min() - 40 == pytest.approx(-4.6, abs=1)
    assert tuple(overlay[y, x]) == PALETTE[CLOTH]

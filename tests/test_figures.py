"""The paper's figures and the overlay, of photos and scores with known numbers."""

import json
import re

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from PIL import Image

from facekp import FaceParser
from facekp.classes import PALETTE
from facekp.errors import CheckpointError, ConfigError, DataError
from facekp.figures.__main__ import main
from facekp.figures.draw import BLUE, RED, draw_heads, draw_key_points, draw_surface, save
from facekp.figures.inputs import ClassScores, class_scores, crop_face, into_crop, read_landmarks
from facekp.images import resize
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import face_from_mask
from facekp.parsing.face_crop import Crop
from facekp.parsing.onnx_backends import ABOUT, describe_export
from facekp.parsing.overlay import OPACITY, draw_overlay
from facekp.parsing.scenes import Scene, View

SKIN, NOSE, HAIR, CLOTH = 1, 2, 13, 18


class Known:
    """A network of 64 pixels whose score of class c is c at stride 8, 100 c at 16 and 10,000 c at 32, with a slope."""

    size, batch, streams = 64, 1, 1

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


def test_scores_of_a_class_are_the_heads_own_and_their_sum(scores):
    # The photo's longer side becomes 64 pixels; its shorter one, 48, is rounded to a multiple of 32: 64 too.
    assert [values.shape for values in scores.heads] == [(8, 8), (4, 4), (2, 2)]
    assert scores.strides == (8, 16, 32)
    assert scores.heads[0][3, 5] == pytest.approx(2 + 0.01 * 35)
    assert scores.heads[2][1, 0] == pytest.approx(20_000.1, rel=1e-6)
    bilinear = [cv2.resize(values, (64, 64), interpolation=cv2.INTER_LINEAR) for values in scores.heads]
    np.testing.assert_allclose(scores.total, sum(bilinear), rtol=1e-6)


def test_the_panels_show_the_heads_scores_in_one_range_and_their_sum(photo, scores):
    figure = draw_heads(photo, scores)
    panels = images_of(figure)
    assert list(panels) == ["photo", "stride 8 (8 x 8)", "stride 16 (4 x 4)", "stride 32 (2 x 2)", "sum"]
    pictures = list(panels.values())
    np.testing.assert_array_equal(pictures[0].get_array(), photo)
    for picture, values in zip(pictures[1:4], scores.heads, strict=True):
        np.testing.assert_array_equal(picture.get_array(), values)
        # From the lowest score, class 2's at stride 8, to the highest, at stride 32.
        assert picture.get_clim() == pytest.approx((2, 20_000.11), rel=1e-6)
    np.testing.assert_array_equal(pictures[4].get_array(), scores.total)
    assert pictures[4].get_clim() == pytest.approx((scores.total.min(), scores.total.max()))
    for picture in pictures:  # a pixel's centre is a whole number, as key points have it
        assert tuple(picture.get_extent()) == (-0.5, 127.5, 95.5, -0.5)
    labels = [panel.get_xlabel() for panel in figure.axes]
    assert labels.count("x (pixels)") == 5
    assert labels[5:] == ["score of nose by head (logit)", "summed score (logit)"]


def test_wide_photos_are_stacked_and_no_figure_is_wider_than_a_page():
    scores = ClassScores("nose", (np.zeros((4, 20), np.float32),), np.eye(32, 160, dtype=np.float32))
    heights = []
    for size in ((96, 96), (30, 400), (400, 30)):
        figure = draw_heads(np.zeros((*size, 3), np.uint8), scores)
        assert figure.get_figwidth() == 7.2
        assert figure.get_figheight() <= 8.8
        figure.draw_without_rendering()
        boxes = [panel.get_position() for panel in figure.axes[:3]]
        heights.append(len({round(box.y0, 3) for box in boxes}))
    assert heights == [1, 3, 1]


def test_the_surface_stands_at_the_summed_scores(photo, scores):
    figure = draw_surface(photo, scores)
    (axes,) = (panel for panel in figure.axes if panel.name == "3d")
    (surface,) = (c for c in axes.collections if isinstance(c, Poly3DCollection))
    # 64 x 64 scores are all drawn: 63 x 63 faces, each coloured by the mean of its corners.
    z = scores.total
    means = (z[:-1, :-1] + z[1:, :-1] + z[:-1, 1:] + z[1:, 1:]) / 4
    np.testing.assert_allclose(surface.get_array(), means.ravel(), rtol=1e-6)
    # The first and the last score lie in the middle of their pixels, which are 2 wide and 1.5 high in the photo.
    assert axes.xy_dataLim.intervalx.tolist() == pytest.approx([0.5, 126.5])
    assert axes.xy_dataLim.intervaly.tolist() == pytest.approx([0.25, 94.75])
    assert axes.zz_dataLim.intervalx.tolist() == pytest.approx([z.min(), z.max()])
    assert axes.get_ylim() == (96, 0)
    assert axes.get_zlabel() == "score (logit)"


def test_a_fine_surface_keeps_every_nth_score(photo):
    total = np.arange(200 * 200, dtype=np.float32).reshape(200, 200)
    figure = draw_surface(photo, ClassScores("nose", (total,), total))
    (surface,) = (c for panel in figure.axes for c in panel.collections if isinstance(c, Poly3DCollection))
    # Every third from the second on: 67 a side.
    kept = total[1::3, 1::3]
    assert len(surface.get_array()) == 66 * 66
    assert surface.get_array()[0] == pytest.approx((kept[0, 0] + kept[1, 0] + kept[0, 1] + kept[1, 1]) / 4)


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
    without = draw_key_points(photo, parsed(96, 128, []))
    assert len(without.axes[1].collections) == 1
    assert len(without.axes[1].collections[0].get_offsets()) == 0


def test_landmarks_are_read_by_the_photos_name(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("id,x0,y0,x1,y1\n00022,1,2,3.5,4\nmary,5,6,7,8\n")
    assert read_landmarks(table, "photos/00022.jpg").tolist() == [[1, 2], [3.5, 4]]
    assert read_landmarks(table, "22.png").tolist() == [[1, 2], [3.5, 4]]
    assert read_landmarks(table, "mary.jpg").tolist() == [[5, 6], [7, 8]]
    with pytest.raises(DataError, match=r"table.csv': no row for the photo 'john' \(its 2 rows begin with '00022'\)"):
        read_landmarks(table, "john.jpg")


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "x,y\n1,2\n3.5,4\n"), ("b.csv", "1,2\n3.5,4\n"), ("c.json", "[[1, 2], [3.5, 4]]")]
)
def test_a_plain_file_holds_one_photos_landmarks(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_landmarks(tmp_path / name, "any.jpg").tolist() == [[1, 2], [3.5, 4]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", ""), ("a.csv", "1,2,3\n4,5,6\n"), ("a.csv", "one,two\n"), ("a.csv", "1,2\n3\n"), ("a.csv", "1,nan\n"),
        ("a.csv", "id,x0,y0\nphoto,1\n"), ("a.json", "{}"), ("a.json", "[1, 2]"), ("a.json", "[[1, 2]"),
        ("a.json", '[["x", "y"]]'), ("a.csv", "\xff\xfe"),
    ],
)  # fmt: skip
def test_a_file_without_landmarks_is_named(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=rf"landmarks '.*{name}': holds no points \(.*\); give CSV"):
        read_landmarks(tmp_path / name, "photo.jpg")
    with pytest.raises(DataError, match=r"'nowhere.csv': cannot be read \(No such file or directory\)"):
        read_landmarks("nowhere.csv", "photo.jpg")


@pytest.fixture
def exported(tmp_path):
    """Write an ONNX file: each head's scores are its cells' mean colours times random weights."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    node, kinds = onnx.helper.make_node, onnx.TensorProto
    weights = np.random.default_rng(1).normal(size=(19, 3, 1, 1)).astype(np.float32)
    nodes = [
        node("Cast", ["images"], ["floats"], to=kinds.FLOAT),
        node("Transpose", ["floats"], ["x"], perm=[0, 3, 1, 2]),
    ]
    for k, stride in enumerate((8, 16, 32)):
        nodes += [
            node("AveragePool", ["x"], [f"mean{k}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
            node("Conv", [f"mean{k}", "weights"], [f"conv{k}"]),
            node("Transpose", [f"conv{k}"], [f"scores{k}"], perm=[0, 2, 3, 1]),
        ]
    images = onnx.helper.make_tensor_value_info("images", kinds.UINT8, ["n", "h", "w", 3])
    outputs = [onnx.helper.make_tensor_value_info(f"scores{k}", kinds.FLOAT, [None] * 4) for k in range(3)]
    graph = onnx.helper.make_graph(nodes, "net", [images], outputs, [onnx.numpy_helper.from_array(weights, "weights")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {ABOUT: json.dumps(describe_export(64))})
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx", weights[:, :, 0, 0]


def test_the_command_writes_three_figures_of_an_exported_network_too(exported, photo, tmp_path, monkeypatch, capsys):
    ckpt, weights = exported
    saved = {}
    savefig = Figure.savefig

    def spy(figure, path, **settings):
        saved[re.sub(r"^\.|\.part$", "", path.name)] = figure
        savefig(figure, path, **settings)

    monkeypatch.setattr(Figure, "savefig", spy)
    Image.fromarray(photo).save(tmp_path / "7.png")
    (tmp_path / "points.csv").write_text("id,x0,y0\n00007,31.5,15.5\n")
    out = tmp_path / "out"
    settings = [f"ckpt={ckpt}", f"source={tmp_path}/7.png", f"out={out}", "class=hair", "dpi=60", "align=none"]
    main([*settings, f"landmarks={tmp_path}/points.csv", "landmarks_size=64"])
    names = ["7.hair.heads.png", "7.hair.surface.png", "7.points.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert capsys.readouterr().out.split() == [str(out / name) for name in names]
    with Image.open(out / names[0]) as picture:
        assert picture.width == 7.2 * 60
    # From a picture of 64 pixels to the photo of 128: the middle between two pixels stays the middle of four.
    (point,) = saved["7.points.png"].axes[1].collections[1].get_offsets()
    assert point.tolist() == pytest.approx([63.5, 31.5])
    cells = resize(photo, (64, 64)).reshape(4, 16, 4, 16, 3).mean((1, 3))  # of the head at stride 16
    shown = list(images_of(saved["7.hair.heads.png"]).values())
    np.testing.assert_allclose(shown[2].get_array(), cells @ weights[HAIR], rtol=1e-4)


def test_a_face_in_a_photo_is_drawn_in_its_frame_and_a_detectors_points_move_along(photo):
    # A square of 40 pixels, turned by a quarter, clockwise as seen: its top left corner is the photo's (80, 20), and
    # from there its upper edge goes down.
    crop = Crop(80 + 20j, 40j)

    class Finder:
        @property
        def stages(self):
            return self

        def look(self, image, align):  # not searched, so that no scores are needed to confirm it
            return Scene(image, (View(crop, image),) if align == "auto" else ())

        def parse(self, scenes):
            return scenes

    picture, found = crop_face(Finder(), photo, "photo.jpg")
    assert found == crop
    np.testing.assert_array_equal(picture, np.rot90(photo[20:60, 40:80]))
    # The photo's pixel (x, y) = (79, 20) is the picture's first; (50, 55) lies 35 along its upper edge, 29 below it.
    assert into_crop(np.array([[79, 20], [50, 55]], np.float32), crop).tolist() == [[0, 0], [35, 29]]
    with pytest.raises(DataError, match=r"image blank.jpg: no face is found in it; align=none takes the whole photo"):
        crop_face(type("Blind", (Finder,), {"look": lambda self, image, align: Scene(image)})(), photo, "blank.jpg")


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_vector_files_are_the_same_each_time_and_keep_their_text(photo, scores, tmp_path, kind, start):
    for name in ("a", "b"):
        save(draw_heads(photo, scores), tmp_path / f"{name}.{kind}", dpi=60)
    content = (tmp_path / f"a.{kind}").read_bytes()
    assert content.startswith(start)
    assert (tmp_path / f"b.{kind}").read_bytes() == content  # it does not say when it was made
    if kind == "svg":
        assert "score of nose by head (logit)</text>" in content.decode()
    else:
        assert b"/FontFile2" in content  # TrueType


def test_mistakes_are_named(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    (tmp_path / "net.ckpt").write_bytes(b"no checkpoint")
    (tmp_path / "net.onnx").write_bytes(b"no network")
    (tmp_path / "table.csv").write_text("id,x0,y0\nb,1,2\n")
    given = {"ckpt": tmp_path / "net.ckpt", "source": tmp_path / "a.png", "out": tmp_path / "out"}

    def run(**changed):
        main([f"{key.rstrip('_')}={value}" for key, value in (given | changed).items()])

    with pytest.raises(ConfigError, match="class is 'noes': choose one of background, skin, nose, "):
        run(class_="noes")
    with pytest.raises(ConfigError, match="format is 'gif': choose one of png, svg, pdf"):
        run(format="gif")
    with pytest.raises(ConfigError, match="dpi is 5: give 50 to 1200"):
        run(dpi=5)
    with pytest.raises(DataError, match=r"image .*none.png: cannot be read"):
        run(source=tmp_path / "none.png")
    with pytest.raises(DataError, match=r"table.csv': no row for the photo 'a'"):
        run(landmarks=tmp_path / "table.csv")
    for name in ("net.ckpt", "net.onnx", "none.onnx"):
        with pytest.raises(CheckpointError, match=name):
            run(ckpt=tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_the_help_calls_the_class_by_its_name(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"^  class +str +nose +the class whose scores are drawn$", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(ConfigError, match="class is empty: give class="):
        main(["class="])


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


def test_frames_of_a_wide_video_are_of_one_size_whatever_is_in_them():
    photo, face = flat(400, 1000, [(HAIR, 100, 300, 100, 500)])
    assert draw_overlay(photo, [face]).shape == draw_overlay(photo, []).shape


@pytest.mark.parametrize(
    ("size", "grown", "below"),
    [((256, 256), (768, 768), False), ((512, 512), (768, 768), False), ((1000, 1500), (1000, 1500), False),
     ((300, 4000), (300, 4000), True), ((32, 256), (96, 768), True), ((256, 32), (768, 96), False),
     ((1800, 2400), (1800, 2400), False)],
)  # fmt: skip
def test_the_legend_names_every_attribute_legibly_beside_or_below_the_photo(size, grown, below):
    height, width = size
    ids, columns = range(1, 19), np.linspace(0, width, 19).round().astype(int)
    photo, face = flat(height, width, [(i, 0, height, columns[i - 1], columns[i]) for i in ids])
    assert len(face.attributes) == 18
    overlay = draw_overlay(photo, [face])
    if below:
        assert overlay.shape[1] == grown[1]
        panel = overlay[grown[0] :]
    else:
        assert overlay.shape[0] == grown[0]
        panel = overlay[:, grown[1] :]
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


def test_real_faces_have_figures_with_a_detectors_points(real_root):
    table = real_root.parent / "landmarks" / "val_dlib68.csv"
    if not table.is_file():
        pytest.skip(f"no landmarks: {table} is missing")
    name = table.read_text().splitlines()[1].split(",")[0]
    landmarks = read_landmarks(table, f"{name}.jpg")
    assert landmarks.shape == (68, 2)
    with Image.open(real_root / "images" / f"{name}.jpg") as picture:
        assert (landmarks > 0).all()
        assert (landmarks < picture.size).all()

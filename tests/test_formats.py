"""Export formats, read back by pycocotools and jsonschema and by the rules of the other readers."""

import csv
import json
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image, ImageDraw

from facekp.classes import CELEBAMASK_HQ
from facekp.errors import DataError
from facekp.files import from_json, to_json
from facekp.formats.base import FORMATS, Format, FormatOptions, Photo, all_formats, describe_formats
from facekp.formats.json import json_schema
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import face_from_mask
from facekp.parsing.soft_mask import ClassScores
from facekp.predict.results import Results
from facekp.predict.sources import RESULTS

PALETTE = CELEBAMASK_HQ.colours

coco = pytest.importorskip("pycocotools.coco")
coco_mask = pytest.importorskip("pycocotools.mask")

NOSE, L_EYE, L_LIP, HAIR = 2, 4, 12, 13
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


def shapes(without=None):
    """Return a mask (120, 200): a block, a ring with an island in its hole, two parts, and a part on the border."""
    mask = np.zeros((120, 200), np.uint8)
    mask[20:50, 10:30] = NOSE
    mask[60:115, 20:90] = HAIR
    mask[70:105, 30:80] = 0
    mask[80:95, 45:65] = HAIR  # the island
    mask[5:15, 100:120] = mask[5:15, 140:170] = L_EYE
    mask[100:120, 150:200] = L_LIP
    mask[50, 180] = NOSE  # a speck without an outline
    return np.where(mask == without, 0, mask).astype(np.uint8)


def faced(mask):
    return face_from_mask(mask, {i: 0.9 - i / 100 for i in range(19)}, KeypointConfig(n=8))


def blank(folder, height=120, width=200):
    return Photo(Path("a.png"), "a.png", folder / "a", np.zeros((height, width, 3), np.uint8))


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def write(folder, masks, export, name="é & <1>.png"):
    """Write one photo whose faces have these masks, or one without faces; return the folder of results."""
    photo, out = folder / "photos" / name, folder / "out"
    photo.parent.mkdir(exist_ok=True)
    image = np.random.default_rng(0).integers(0, 256, (*(masks or [shapes()])[0].shape, 3), dtype=np.uint8)
    Image.fromarray(image).save(photo)
    results = Results(out, export)
    with results.claimed():
        results.write(Photo(photo, name, out / photo.stem, image), [faced(mask) for mask in masks])
        results.finish([out / photo.stem])
    return out


def test_json_meets_the_schema_that_is_shipped_which_refuses_what_is_not_documented(tmp_path):
    out = write(tmp_path, [shapes(), shapes()[:, ::-1]], ["json"])
    content = json.loads((out / "é & <1>.json").read_text("utf-8"))
    Draft202012Validator.check_schema(json_schema())
    validator = Draft202012Validator(json_schema())
    validator.validate(content)
    assert len(content["faces"]) == 2
    assert content["source"].endswith("photos/é & <1>.png")
    hair = next(a for a in content["faces"][0]["attributes"] if a["name"] == "hair")
    assert [c["hole"] for c in hair["contours"]] == [False, False, True]
    for change in ({"schema": "facekp/1"}, {"width": 1.5}, {"faces": [{}]}, {"source": None}):
        assert not validator.is_valid(content | change)
    assert not validator.is_valid({key: value for key, value in content.items() if key != "source"})


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Return a photo's annotations.json as pycocotools reads it."""
    out = write(tmp_path_factory.mktemp("coco"), [shapes()], ["coco"], "a.png")
    return coco.COCO(out / "annotations.json")


class TestCoco:
    def test_areas_boxes_and_run_lengths_are_those_of_the_mask(self, loaded):
        assert loaded.loadImgs(1) == [{"id": 1, "file_name": "a.png", "height": 120, "width": 200}]
        assert [a["id"] for a in loaded.loadAnns(loaded.getAnnIds())] == [1, 2, 3, 4]
        by_class = {a["category_id"]: a for a in loaded.loadAnns(loaded.getAnnIds(imgIds=1))}
        # Without the speck of the nose.
        assert (by_class[NOSE]["bbox"], by_class[NOSE]["area"]) == ([10, 20, 20, 30], 600)
        assert (by_class[L_EYE]["bbox"], by_class[L_EYE]["area"]) == ([100, 5, 70, 10], 500)
        assert (by_class[HAIR]["bbox"], by_class[HAIR]["area"]) == ([20, 60, 70, 55], 55 * 70 - 35 * 50 + 15 * 20)
        hair = loaded.annToMask(by_class[HAIR])
        np.testing.assert_array_equal(hair, shapes() == HAIR)
        assert coco_mask.toBbox(loaded.annToRLE(by_class[HAIR])).tolist() == by_class[HAIR]["bbox"]

    def test_polygons_cover_the_mask(self, loaded):
        for annotation in loaded.loadAnns(loaded.getAnnIds(catIds=[NOSE, L_EYE, L_LIP])):
            truth = shapes() == annotation["category_id"]
            truth[50, 180] = False
            assert isinstance(annotation["segmentation"], list)
            covered = loaded.annToMask(annotation) > 0
            assert not (covered & ~truth).any()
            # Each corner of the four is rounded by up to two pixels.
            assert np.count_nonzero(truth & ~covered) <= 2 * 4 * len(annotation["segmentation"])
            assert coco_mask.toBbox(loaded.annToRLE(annotation)).tolist() == annotation["bbox"]

    def test_key_points_have_names_and_a_skeleton(self, loaded):
        assert [c["id"] for c in loaded.loadCats(loaded.getCatIds())] == list(range(1, 19))
        (nose,) = loaded.loadCats(NOSE)
        assert nose["keypoints"] == [f"nose_{k}" for k in range(8)]
        assert nose["skeleton"] == [[1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [6, 7], [7, 8], [8, 1]]
        (annotation,) = loaded.loadAnns(loaded.getAnnIds(catIds=NOSE))
        points = np.reshape(annotation["keypoints"], (-1, 3))
        assert annotation["num_keypoints"] == len(points) == 8
        np.testing.assert_allclose(points[:, :2], faced(shapes()).keypoints["nose"], atol=0.006)
        assert (points[:, 2] == 2).all()
        np.testing.assert_allclose(points[0, :2], [19.5, 19.5], atol=0.2)  # the middle of the upper edge

    @pytest.mark.slow
    def test_many_photos_are_joined_in_little_memory(self, tmp_path):
        (piece := tmp_path / "piece").write_bytes(FORMATS["coco"]().encode(blank(tmp_path), [faced(shapes())]))
        count, path = 2000, tmp_path / "annotations.json"
        tracemalloc.start()
        with path.open("wb") as out:
            FORMATS["coco"]().join([piece] * count, out)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < path.stat().st_size / 20
        loaded = coco.COCO(path)
        assert loaded.getImgIds() == list(range(1, count + 1))
        assert len(set(loaded.getAnnIds())) == 4 * count


def test_labelme_meets_the_rules_of_its_reader_with_parts_as_one_instance_and_empty_holes(tmp_path):
    # labelme/_label_file.py of 6.3.1: read_label_file and _load_shape_json_obj. LabelMe itself needs Qt.
    folder = write(tmp_path, [shapes(), shapes(without=NOSE)], ["labelme"]) / "labelme"
    read = json.loads((folder / "é & <1>.json").read_text("utf-8"))
    with Image.open(folder / read["imagePath"]) as image:
        assert image.size == (read["imageWidth"], read["imageHeight"]) == (200, 120)
    assert (read["imageData"], read["flags"], int(read["version"].split(".")[0])) == (None, {}, 5)
    masks = {}
    for shape in read["shapes"]:
        known = {"shape_type": "polygon", "mask": None, "flags": {}, "description": ""}
        assert {key: shape[key] for key in known} == known
        assert len(shape["points"]) > 2
        assert all(type(v) is float for point in shape["points"] for v in point)
        # As labelme.utils.shape_to_mask fills polygons.
        canvas = Image.new("L", (200, 120))
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
        masks.setdefault((shape["label"], shape["group_id"]), []).append(np.array(canvas) > 0)
    assert masks.keys() == {*((name, face) for name in ("hair", "l_eye", "l_lip") for face in (0, 1)), ("nose", 0)}
    hair = np.any(masks["hair", 0], axis=0)
    assert len(masks["hair", 0]) == 2
    assert not hair[72:78, 33:77].any()
    assert iou(hair, shapes() == HAIR) > 0.9


class TestSvg:
    def test_every_attribute_is_a_group_whose_holes_are_holes(self, tmp_path):
        root = ET.parse(write(tmp_path, [shapes()], ["svg"]) / "é & <1>.svg").getroot()
        groups = {group.get("class"): group for group in root.findall(f"{SVG}g/{SVG}g")}
        assert list(groups) == ["nose", "l_eye", "l_lip", "hair"]
        assert groups["nose"].find(f"{SVG}title").text == "nose, confidence 0.88"
        assert groups["nose"].get("fill") == "#{:02x}{:02x}{:02x}".format(*PALETTE[NOSE])
        for i, name in ((HAIR, "hair"), (L_EYE, "l_eye")):
            path = groups[name].find(f"{SVG}path")
            assert path.get("fill-rule") == "evenodd"
            rings = [ring.strip("M ") for ring in path.get("d").split("Z")[:-1]]
            corners = [np.array([pair.split(",") for pair in ring.split()], float) for ring in rings]
            # OpenCV fills by the even-odd rule, and counts from the middle of pixels, in 16ths.
            filled = np.zeros((120, 200), np.uint8)
            cv2.fillPoly(filled, [np.round((c - 0.5) * 16).astype(np.int32) for c in corners], 1, shift=4)
            assert iou(filled > 0, shapes() == i) > 0.9
        first, *others = groups["nose"].findall(f"{SVG}circle")
        assert len(others) == 7
        assert (float(first.get("cx")), float(first.get("cy"))) == pytest.approx((20, 20), abs=0.2)

    @pytest.mark.parametrize(
        ("name", "title"), [("é & <1>.png", "é & <1>.png"), ("a\x01\nb\udce9.png", "a\ufffd\ufffdb\ufffd.png")]
    )
    def test_it_shows_the_photo_from_its_place_also_one_whose_name_xml_cannot_hold(self, tmp_path, name, title):
        (file,) = write(tmp_path, [shapes()], list(all_formats()), name).glob("*.svg")
        root = ET.parse(file).getroot()
        assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("200", "120", "0 0 200 120")
        assert root.find(f"{SVG}title").text == title
        href = root.find(f"{SVG}image").get(HREF)
        assert href.isascii()
        linked = os.fsdecode(unquote_to_bytes(href))
        assert (file.parent / linked).samefile(tmp_path / "photos" / name)


def test_csv_has_a_row_for_every_key_point(tmp_path):
    out = write(tmp_path, [shapes(), shapes(without=NOSE)], ["csv"], 'a,"b.png')
    with (out / "keypoints.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["file", "face", "attribute", "kind", "index", "x", "y", "confidence"]
    assert len(rows) == 8 * (4 + 3)
    nose = [row for row in rows if row["attribute"] == "nose"]
    assert [int(row["index"]) for row in nose] == list(range(8))
    assert {(row["file"], row["face"], row["kind"], row["confidence"]) for row in nose} == {
        ('a,"b.png', "0", "keypoint", "0.88")}  # fmt: skip
    points = [(float(row["x"]), float(row["y"])) for row in nose]
    np.testing.assert_allclose(points, faced(shapes()).keypoints["nose"], atol=0.006)


def test_of_faces_that_overlap_the_first_lies_on_top(tmp_path):
    first, second = np.zeros((2, 64, 64), np.uint8)
    first[:40, :40], second[20:, 20:] = NOSE, HAIR
    out = write(tmp_path, [first, second], list(all_formats()), "a.png")
    with Image.open(out / "a.mask.png") as mask:
        np.testing.assert_array_equal(np.array(mask), np.where(first, first, second))
    groups = [group.get("id") for group in ET.parse(out / "a.svg").getroot().findall(f"{SVG}g")]
    assert groups == ["face1", "face0"]  # painted in this order
    loaded = coco.COCO(out / "annotations.json")
    assert [(a["face"], a["category_id"]) for a in loaded.loadAnns([1, 2])] == [(0, NOSE), (1, HAIR)]


def test_a_photo_without_faces_has_every_file(tmp_path):
    out = write(tmp_path, [], list(all_formats()), "a.png")
    assert json.loads((out / "a.json").read_text())["faces"] == []
    assert len(coco.COCO(out / "annotations.json").getImgIds()) == 1
    assert len((out / "keypoints.csv").read_text().splitlines()) == 1
    with Image.open(out / "a.mask.png") as mask:
        assert not np.array(mask).any()
    names = ["a.json", "a.mask.png", "a.overlay.jpg", "a.svg", "annotations.json", "keypoints.csv", "labelme"]
    assert sorted(p.name for p in out.iterdir()) == names


def test_a_photos_json_is_written_after_its_other_files(tmp_path, monkeypatch):
    # Where NAME.json is, the photo's other files are whole.
    written = []
    monkeypatch.setattr(os, "replace", lambda part, path: written.append(path.name) or Path(part).rename(path))
    write(tmp_path, [shapes()], ["json", "svg", "mask", "overlay", "labelme"], "a.png")
    assert sorted(written[:-1]) == ["a.json", "a.mask.png", "a.overlay.jpg", "a.svg"]  # a.json is LabelMe's
    assert written[-1] == "a.json"


def test_a_format_is_one_class(tmp_path, monkeypatch):
    class Dots(Format):
        file, help = "NAME.txt", "one dot per face"

        def encode(self, photo, faces):
            return b"." * len(faces)

    monkeypatch.setattr(FORMATS, "_found", FORMATS._found | {"dots": Dots})
    out = write(tmp_path, [shapes(), shapes()], ["dots"], "a.png")
    assert (out / "a.txt").read_text() == ".."
    assert "dots      NAME.txt                one dot per face" in describe_formats()
    assert list(all_formats()) == [
        *("alpha", "coco", "csv", "cutout", "dots", "labelme", "mask", "masks", "overlay", "svg"), "json",
    ]  # fmt: skip


def hairy(hair, half):
    """Return a face (32, 40) with hair in one part, and as likely as skin in another."""
    scores = np.full((32, 40, 19), -100, np.float32)
    scores[..., 0] = 0
    scores[..., HAIR][hair] = 100
    scores[..., HAIR][half] = scores[..., 1][half] = 100
    face = faced(scores.argmax(2).astype(np.uint8))
    return replace(face, scores=ClassScores(scores))


class TestRegions:
    # Hair in the ten columns at the left, half of it in most of the next, and in five rows of a second face.
    faces = (hairy(np.s_[:, :10], np.s_[:27, 10]), hairy(np.s_[27:], np.s_[:0]))
    image = np.random.default_rng(0).integers(1, 256, (32, 40, 3), dtype=np.uint8)
    alpha = np.zeros((32, 40), np.uint8)
    alpha[:27, 10], alpha[:, :10], alpha[27:] = 128, 255, 255

    def read(self, folder, faces, export, name, regions=("hair", "lips+nose", "background", "hair")):
        results = Results(folder, [export], FormatOptions(regions))
        results.write(Photo(Path("a.png"), "a.png", folder / "a", self.image), faces)
        assert sorted(p.name for p in folder.iterdir()) == sorted(f"a.{r}.{name}.png" for r in {*regions})
        return {r: np.array(Image.open(folder / f"a.{r}.{name}.png")) for r in regions}

    def test_masks_are_black_and_white_and_alpha_is_the_highest_of_the_faces(self, tmp_path):
        # The half column is the first of the classes with the highest score, skin.
        for export, name, hair in (("masks", "region", 255 * (self.alpha > 128)), ("alpha", "alpha", self.alpha)):
            (folder := tmp_path / export).mkdir()
            found = self.read(folder, self.faces, export, name)
            np.testing.assert_array_equal(found["hair"], hair)
            np.testing.assert_array_equal(found["background"], np.where(self.alpha, 0, 255))
            assert not found["lips+nose"].any()

    def test_cutouts_are_the_photo_with_that_alpha_and_nothing_beyond(self, tmp_path):
        found = self.read(tmp_path, self.faces, "cutout", "cutout")["hair"]
        np.testing.assert_array_equal(found[..., 3], self.alpha)
        np.testing.assert_array_equal(found[..., :3], self.image * (self.alpha > 0)[..., None])

    def test_without_a_face_all_is_background(self, tmp_path):
        for export, name in (("masks", "region"), ("alpha", "alpha")):
            (folder := tmp_path / export).mkdir()
            found = self.read(folder, [], export, name)
            assert not found["hair"].any()
            assert (found["background"] == 255).all()

    def test_edges_are_moved_and_blurred_as_asked(self, tmp_path):
        results = Results(tmp_path, ["alpha"], FormatOptions(["hair"], grow=2))
        results.write(Photo(Path("a.png"), "a.png", tmp_path / "a", self.image), self.faces[:1])
        grown = np.array(Image.open(tmp_path / "a.hair.alpha.png"))
        assert grown[16].tolist() == [255] * 12 + [128] + [0] * 27

    def test_their_names_are_those_of_results_and_too_long_ones_are_known(self, tmp_path):
        assert {".region.png", ".alpha.png", ".cutout.png"} <= {*RESULTS}
        region = "+".join(["hair"] * 10)  # 49 letters
        assert Results(tmp_path, ["masks"], FormatOptions([region])).longest_ending == len(f".{region}.region.png")


@pytest.mark.parametrize(("ids", "hair", "skin"), [("zllrunning", 17, 1), ("lapa", 10, 1)])
def test_the_mask_in_other_ids_keeps_its_colours(tmp_path, ids, hair, skin):
    mask = np.zeros((40, 40), np.uint8)
    mask[:20], mask[20:30] = HAIR, 1
    results = Results(tmp_path, ["mask"], FormatOptions(ids=ids))
    results.write(blank(tmp_path, 40, 40), [faced(mask)])
    with Image.open(tmp_path / "a.mask.png") as picture:
        assert np.array(picture)[::10, 0].tolist() == [hair, hair, skin, 0]
        assert np.array(picture.convert("RGB"))[::10, 0].tolist() == [
            list(PALETTE[CELEBAMASK_HQ.index(name)]) for name in ("hair", "hair", "skin", "background")]  # fmt: skip


def test_what_a_killed_run_left_is_not_joined(tmp_path):
    Results(tmp_path, ["coco"]).write(blank(tmp_path), [faced(shapes())])
    assert not (tmp_path / "annotations.json").exists()
    results = Results(tmp_path, ["coco"])
    with results.claimed():
        results.finish([tmp_path / "a"], skipped=1)
    assert coco.COCO(tmp_path / "annotations.json").getImgIds() == []
    assert [p.name for p in tmp_path.iterdir()] == ["annotations.json"]


def test_several_threads_write_into_one_new_folder_and_are_joined_in_order(tmp_path):
    face, image = faced(shapes()), np.zeros((120, 200, 3), np.uint8)
    results = Results(tmp_path, ["labelme", "csv"])
    stems = [tmp_path / str(i) for i in range(40)]
    with results.claimed(), ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda stem: results.write(Photo(Path("a.png"), stem.name, stem, image), [face]), stems))
        results.finish(stems)
    rows = (tmp_path / "keypoints.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [stem.name for stem in stems for _ in range(4 * 8)]
    assert len(list((tmp_path / "labelme").iterdir())) == 40


def test_a_piece_that_vanished_is_an_error_not_a_shorter_file(tmp_path):
    results = Results(tmp_path, ["coco"])
    with results.claimed():
        results.write(blank(tmp_path), [faced(shapes())])
        with pytest.raises(DataError, match=r"annotations.json': not written, because the pieces of 1 photos have"):
            results.finish([tmp_path / "a", tmp_path / "b"])
        results.finish([tmp_path / "a", tmp_path / "b"], skipped=1)
    assert coco.COCO(tmp_path / "annotations.json").getImgIds() == [1]


def test_a_second_run_may_not_write_the_files_of_all_photos_but_may_write_others(tmp_path):
    holder = "import sys; from pathlib import Path; from facekp.predict.results import Results\n"
    holder += "with Results(Path(sys.argv[1]), ['csv']).claimed(): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        busy = r"another run is writing its files of all photos \(annotations.json, key"
        with pytest.raises(DataError, match=busy), Results(tmp_path, ["coco", "json"]).claimed():
            pass
        with Results(tmp_path, ["json"]).claimed():
            pass
        first.stdin.close()
    with Results(tmp_path, ["coco"]).claimed():  # the first has ended
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_overlay_larger_than_jpeg_holds_is_reduced(tmp_path):
    mask = np.zeros((40, 65_600), np.uint8)
    mask[10:30, 100:200] = NOSE
    out = write(tmp_path, [mask], ["overlay", "mask"], "a.png")
    assert Image.open(out / "a.overlay.jpg").width == 65_500  # the legend adds to the height
    assert Image.open(out / "a.mask.png").size == (65_600, 40)


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "a.svg").mkdir()
    with pytest.raises(DataError, match=r"a.svg': cannot be written"):
        Results(tmp_path, ["svg"]).write(blank(tmp_path), [faced(shapes())])
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def test_json_without_orjson_is_the_same(monkeypatch):
    content = {"name": "Zoë", "points": [[1.5, -0.25], [1e-7, 12345678.9]], "none": None, "empty": []}
    want = [to_json(content), to_json({"points": [1, 2.5]}, indent=True), from_json(to_json(content))]
    monkeypatch.setattr("facekp.files.orjson", None)
    got = [to_json(content), to_json({"points": [1, 2.5]}, indent=True), from_json(want[0])]
    assert got[1:] == want[1:]
    assert json.loads(got[0]) == json.loads(want[0]) == content
    assert got[0].replace(b"1e-07", b"1e-7") == want[0]  # Python writes two digits

"""The audit: a hand-made data set with each kind of flaw, and the real faces whose flaws are known."""

import csv
import re
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from joblib import Parallel
from PIL import Image

from facekp.classes import CELEBAMASK_HQ
from facekp.config import DataConfig
from facekp.data.audit import checks
from facekp.data.audit.__main__ import main
from facekp.data.audit.checks import check_face
from facekp.data.audit.duplicates import find_near_duplicates, thumbnail
from facekp.data.audit.order import check_order
from facekp.data.audit.run import audit
from facekp.data.datamodule import FaceDataModule
from facekp.data.exclusions import read_exclusions
from facekp.data.layout import Sample
from facekp.errors import ConfigError, DataError
from facekp.evaluate import main as evaluate
from facekp.parsing.id_tables import id_lookup, read_ids

MIRROR = CELEBAMASK_HQ.mirror_table()

SIDE = 256
# Class: (x, y) of the centre and half axes, pixels, painted in this order. The subject's left is on the right.
FACE = {
    13: (128, 110, 90, 100), 1: (128, 140, 70, 90),  # hair; skin, so the face is about 141 wide
    8: (203, 140, 7, 16), 9: (53, 140, 7, 16), 6: (158, 105, 16, 4), 7: (98, 105, 16, 4), 4: (158, 120, 11, 5),
    5: (98, 120, 11, 5), 2: (128, 145, 10, 20), 11: (128, 183, 20, 5), 12: (128, 192, 18, 6),
}  # fmt: skip


def draw_label(without=(), **moved):
    """Paint the ellipses of `FACE`, each with its class id; `moved` as c4=(x, y, rx, ry)."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    for class_id, place in FACE.items():
        cx, cy, rx, ry = moved.get(f"c{class_id}", place)
        if class_id not in without:
            label[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1] = class_id
    return label


def draw_photo(seed):
    """Smooth noise: another photo for every seed, with detail of 8 pixels."""
    rng = np.random.default_rng(seed)
    coarse_and_fine = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (8, 32))
    up = [cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for part in coarse_and_fine]
    return cv2.addWeighted(up[0], 0.6, up[1], 0.4, 0)


def flaws(label, photo=None):
    photo = draw_photo(0) if photo is None else photo
    return {flaw.kind: (flaw.detail, round(flaw.score, 3)) for flaw in check_face(photo, label)}


def turn(label, degrees):
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 0.8)
    return cv2.warpAffine(label, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST)


def painted(label, place, class_id):
    label[place] = class_id
    return label


ALL = "l_eye, r_eye, l_brow, r_brow, l_ear, r_ear on the other side"
# It looks to the image's left: what is seen is the subject's left side, and the nose is in front of it.
PROFILE = draw_label(without=(5, 7, 9), c2=(70, 145, 12, 20), c4=(95, 120, 9, 5), c6=(95, 105, 14, 4))
HALF_PROFILE = draw_label(without=(9,), c2=(78, 145, 12, 20), c5=(82, 120, 6, 5), c7=(84, 105, 8, 4))
EYES_ALIKE = np.where(draw_label() == 4, 5, draw_label()).astype(np.uint8)
EYE_AS_NOSE = np.where(draw_label() == 5, 2, draw_label()).astype(np.uint8)
TINY = painted(painted(draw_label(), np.s_[0, :3], 16), np.s_[250, :4], 15)


@pytest.mark.parametrize(
    ("label", "found"),
    [
        pytest.param(PROFILE, {}, id="profile"),
        pytest.param(MIRROR[PROFILE], {"reversed": ("r_eye, r_brow, r_ear on the other side", 1.0)}, id="its mirror"),
        pytest.param(HALF_PROFILE, {}, id="half profile"),
        pytest.param(MIRROR[HALF_PROFILE], {"reversed": (ALL.replace(", l_ear", ""), 1.0)}, id="mirrored half profile"),
        pytest.param(np.ascontiguousarray(draw_label()[:, ::-1]), {"reversed": (ALL, 1.0)}, id="classes not swapped"),
        pytest.param(
            draw_label(c4=FACE[5], c5=FACE[4]),
            {"partly_reversed": ("l_eye, r_eye on the other side", 0.333)},
            id="two parts of six",
        ),
        pytest.param(
            draw_label(without=(9,), c8=FACE[9]), {"partly_reversed": ("l_ear on the other side", 0.2)}, id="one ear"
        ),
        # Five classes are there, one of them on both sides: half a fault in five.
        pytest.param(EYES_ALIKE, {"partly_reversed": ("r_eye on both sides", 0.1)}, id="one name for both eyes"),
        # 10 pixels of the left ear at the right temple, and it is all there is of it.
        pytest.param(painted(draw_label(without=(8,)), np.s_[100:102, 60:65], 8), {}, id="stray pixels of an ear"),
        pytest.param(draw_label(without=(2,)), {"missing": ("no nose", 1.0)}, id="no nose"),
        pytest.param(draw_label(without=(2, 11, 12)), {"missing": ("no nose, no lips", 1.0)}, id="no nose, no lips"),
        pytest.param(draw_label(without=(11,)), {}, id="one lip will do"),
        pytest.param(np.zeros((SIDE, SIDE), np.uint8), {"empty": ("nothing is labelled", 1.0)}, id="nothing"),
        pytest.param(draw_label(without=(1,)), {"empty": ("no skin", 1.0)}, id="no skin"),
        # Fewer than 16 pixels of 512 x 512 are fewer than 4 of 256 x 256.
        pytest.param(TINY, {"tiny": ("neck_l 3 px", 1.0)}, id="stray pixels"),
    ],
)
def test_flaws_of_a_label(label, found):
    assert flaws(label) == found


@pytest.mark.parametrize("degrees", [0, 20, 90, 180, -135])
def test_reversed_is_found_however_the_head_is_rolled(degrees):
    assert flaws(turn(draw_label(), degrees)) == {}
    assert flaws(MIRROR[turn(draw_label(), degrees)]) == {"reversed": (ALL, 1.0)}


def test_sizes_of_other_proportions_do_not_match():
    assert flaws(draw_label(), draw_photo(0)[:200]) == {"mismatch": ("image 256 x 200 pixels, label 256 x 256", 1.0)}
    assert flaws(draw_label(), cv2.resize(draw_photo(0), (64, 64))) == {}


class TestOpenEyes:
    """The cascade is replaced by one that sees an eye in bright squares; the real one is tried on real faces."""

    @pytest.fixture(autouse=True)
    def _bright_is_open(self, monkeypatch):
        class Bright:
            def __init__(self, path):
                assert Path(path).is_file()

            def detectMultiScale(self, grey, *args, **kwargs):  # noqa: N802
                return [1] if grey.mean() > 200 else []

        monkeypatch.setattr(checks.cv2, "CascadeClassifier", Bright)

    @pytest.mark.parametrize(
        ("label", "bright", "found"),
        [
            pytest.param(draw_label(without=(4,)), (4,), {"missing": ("no l_eye", 1.0)}, id="open"),
            pytest.param(draw_label(without=(4,)), (5,), {}, id="closed"),
            pytest.param(draw_label(without=(4, 5)), (4,), {}, id="of two, one open"),
            pytest.param(draw_label(without=(4, 5)), (4, 5), {"missing": ("no l_eye, no r_eye", 1.0)}, id="both open"),
            pytest.param(EYE_AS_NOSE, (5,), {"missing": ("no r_eye (nose in its place)", 1.0)}, id="called nose"),
        ],
    )
    def test_an_eye_without_label(self, label, bright, found):
        assert flaws(label, self.photo(*bright)) == found

    @pytest.mark.parametrize("cover", [0, 3, 13, 14, 18])
    def test_a_hidden_eye_is_not_missing(self, cover):
        label = painted(draw_label(without=(4,)), np.s_[108:140, 140:190], cover)
        assert "missing" not in flaws(label, self.photo(4))

    @staticmethod
    def photo(*bright):
        """Grey, and white around the eyes of these classes."""
        photo = np.full((SIDE, SIDE, 3), 90, np.uint8)
        for class_id in bright:
            x, y = FACE[class_id][:2]
            photo[y - 30 : y + 30, x - 30 : x + 30] = 255
        return photo


def near(*photos):
    with Parallel(2, backend="threading", return_as="generator") as pool:
        return [(p.first, p.second, p.mirrored) for p in find_near_duplicates([thumbnail(p) for p in photos], pool)]


def warp(photo, zoom=1, degrees=0, x=0):
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, zoom)
    matrix[0, 2] += x
    return cv2.warpAffine(photo, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)


class TestNearDuplicates:
    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(lambda p: cv2.convertScaleAbs(p, alpha=0.6, beta=40), id="pale"),
            pytest.param(lambda p: cv2.GaussianBlur(p, (0, 0), 1.5), id="blurred"),
            pytest.param(lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [1, 15])[1], 1), id="jpeg of quality 15"),
            pytest.param(lambda p: cv2.resize(p, (100, 100), interpolation=cv2.INTER_AREA), id="small"),
            pytest.param(lambda p: warp(p, x=4), id="shifted"),
            pytest.param(lambda p: warp(p, zoom=1.03), id="zoomed"),
            pytest.param(lambda p: warp(p, degrees=2), id="turned"),
        ],
    )
    def test_the_same_photo_in_other_guises(self, other):
        photo = draw_photo(1)
        assert near(draw_photo(2), photo, draw_photo(3), other(photo)) == [(1, 3, False)]
        assert near(photo, draw_photo(2), other(photo)[:, ::-1].copy()) == [(0, 2, True)]

    def test_other_photos_and_flat_ones_are_not_alike(self):
        assert near() == []  # no image can be read
        flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
        assert near(*(draw_photo(seed) for seed in range(40)), flat, flat + 60) == []

    def test_the_same_light_with_other_detail_is_another_photo(self):
        light = cv2.GaussianBlur(draw_photo(1), (0, 0), 20).astype(np.int16)
        rng = np.random.default_rng(0)
        grain = [cv2.resize(rng.integers(-25, 26, (32, 32, 3), dtype=np.int16), (SIDE, SIDE)) for _ in range(2)]
        assert near(*(np.clip(light + g, 0, 255).astype(np.uint8) for g in grain)) == []

    def test_pairs_across_blocks_are_found(self, monkeypatch):
        monkeypatch.setattr("facekp.data.audit.duplicates.BLOCK", 3)
        photos = [draw_photo(seed) for seed in (1, 2, 3, 4, 1, 5, 6, 2, 4)]
        assert near(*photos) == [(0, 4, False), (1, 7, False), (3, 8, False)]


def write_set(root, images):
    """Write a prepared data set: split, photo and label by id. Photos are PNGs by content, so equal to the pixel."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for name, (_, photo, label) in images.items():
        Image.fromarray(photo).save(root / "images" / f"{name}.jpg", format="PNG")
        Image.fromarray(label).save(root / "labels" / f"{name}.png")
    rows = "".join(f"{name},{split}\n" for name, (split, _, _) in images.items())
    (root / "index.csv").write_text("id,split\n" + rows, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def flawed_set(tmp_path_factory):
    """A data set with one of each kind of flaw; every image has its own label but c and d."""

    def label(number):
        own = draw_label()
        own[255, : number + 8] = 17  # a strip of neck as long as the number says
        return own

    photos = [draw_photo(seed) for seed in range(20)]
    faces = {
        "fine": ("train", photos[0], label(0)),
        "reversed": ("train", photos[1], MIRROR[label(1)]),
        "first": ("train", photos[2], label(2)),
        "copy": ("train", photos[2], label(3)),
        "leak": ("train", photos[3], label(4)),
        "judge": ("val", cv2.convertScaleAbs(photos[3], alpha=0.8, beta=10), label(5)),
        "mirror": ("train", photos[0][:, ::-1].copy(), label(6)),
        "c": ("train", photos[4], label(7)),
        "d": ("test", photos[5], label(7)),
        "noseless": ("train", photos[6], np.where(label(8) == 2, 1, label(8)).astype(np.uint8)),
        "blank": ("val", photos[7], np.zeros((SIDE, SIDE), np.uint8)),
        "narrow": ("train", photos[8][:, :200], label(9)),
        "cut": ("train", photos[9], label(10)),
        "lost": ("train", photos[10], label(11)),
    }
    root = write_set(tmp_path_factory.mktemp("flawed") / "set", faces)
    cut = root / "images" / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:3000])
    (root / "labels" / "lost.png").unlink()
    return root


EXPECTED = [
    # kind, id, other id, exclude; by kind, then as the index lists them
    ("unreadable", "cut", "", "yes"),
    ("unreadable", "lost", "", "yes"),
    ("mismatch", "narrow", "", "yes"),
    ("empty", "blank", "", "no"),  # of val: nothing is excluded there
    ("reversed", "reversed", "", "yes"),
    ("duplicate", "copy", "first", "yes"),
    ("near_duplicate", "leak", "judge", "yes"),  # the training one goes
    ("near_duplicate", "mirror", "fine", "yes"),
    ("same_label", "c", "d", "yes"),
    ("same_label", "d", "c", "no"),
    ("missing", "noseless", "", "no"),
]


def test_the_table_says_what_is_wrong_with_each(flawed_set, tmp_path, capsys):
    main([f"root={flawed_set}", f"out={tmp_path / 'out'}", "workers=2"])
    with (tmp_path / "out" / "audit.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "split", "kind", "exclude", "detail", "score", "other_id", "other_split"]
    assert [(row["kind"], row["id"], row["other_id"], row["exclude"]) for row in rows] == EXPECTED
    assert all(re.fullmatch(r"[01]\.\d{3}", row["score"]) for row in rows)
    assert read_exclusions(str(tmp_path / "out" / "audit.csv")) == {row[1] for row in EXPECTED if row[3] == "yes"}
    by_id = {row["id"]: row for row in rows}
    assert (by_id["leak"]["split"], by_id["leak"]["other_split"]) == ("train", "val")
    assert float(by_id["leak"]["score"]) > 0.95
    assert by_id["mirror"]["detail"] == "the same photo, mirrored"
    assert "no such file" in by_id["lost"]["detail"]
    printed = capsys.readouterr().out
    for said in ("8 training images excluded", "3 pairs cross the split", f"data.exclude={tmp_path}/out/audit.csv"):
        assert said in printed


def test_ids_in_another_order_are_reported(tmp_path, checkpoint, capsys):
    own = draw_label()
    own[240:, 100:156] = 17
    audit(write_set(tmp_path / "ours", {"a": ("train", draw_photo(1), own)}), workers=1)
    assert "another order" not in capsys.readouterr().err
    label = id_lookup(read_ids("zllrunning"))[own]
    other = write_set(tmp_path / "other", {"a": ("train", draw_photo(1), label)})
    audit(other, workers=1)
    message = f"labels of '{other}': in 1 of 1, parts lie where these classes do not"
    assert message in capsys.readouterr().err
    # Training looks at each data set by itself.
    FaceDataModule(DataConfig(root=str(tmp_path / "ours"), more=[str(other)]), seed=0, total_steps=1).prepare_data()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)
    scored = [f"ckpt={checkpoint}", f"data.root={other}", "split=train", "data.workers=0", "device=cpu"]
    evaluate([*scored, f"out={tmp_path / 'scores.json'}"])
    assert message in capsys.readouterr().err


def test_training_looks_at_16_labels_at_most():
    for count, looked_at in ((1, 1), (16, 16), (17, 9), (100, 15)):
        samples = [Sample(str(i), "train", Path(f"{i}.jpg"), Path("labels", f"{i}.png")) for i in range(count)]
        with patch("facekp.data.audit.order.read_label", side_effect=[draw_label()] * looked_at) as read:
            check_order(samples)
        assert read.call_count == looked_at


def test_the_number_of_threads_changes_nothing_and_the_data_set_is_only_read(flawed_set):
    before = {path: path.stat().st_mtime_ns for path in flawed_set.rglob("*")}
    assert audit(flawed_set, workers=1) == audit(flawed_set, workers=4)
    assert {path: path.stat().st_mtime_ns for path in flawed_set.rglob("*")} == before


def test_the_sheet_holds_its_pictures_and_needs_no_network(flawed_set, tmp_path):
    main([f"root={flawed_set}", f"out={tmp_path}"])
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|iframe)|url\(", page)
    sources = re.findall(r'src="(.{23})', page)
    assert sources == ["data:image/jpeg;base64,"] * len(EXPECTED)  # of `cut` there is the label, of `lost` the photo
    assert all(link.startswith("#") for link in re.findall(r'href="(.)', page))
    assert page.count("crosses the split") == 3  # leak, and both rows of c and d
    assert page.count("excluded") == 8 + 1  # the sentence at the top
    main([f"root={flawed_set}", f"out={tmp_path}", "pictures=1"])
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert page.count("src=") == len({kind for kind, *_ in EXPECTED})
    assert ", the first 1 shown" in page.replace("\n", " ").replace("  ", " ")


def test_an_image_as_thin_as_a_line_is_drawn(tmp_path):
    root = write_set(tmp_path / "set", {"a": ("train", np.zeros((5, 2000, 3), np.uint8), draw_label())})
    main([f"root={root}", f"out={tmp_path}"])
    assert (tmp_path / "audit.html").read_text().count("src=") == 1


def test_an_edited_exclude_column_is_kept(flawed_set, tmp_path):
    for _ in range(2):  # its own files are replaced
        main([f"root={flawed_set}", f"out={tmp_path}", "pictures=0"])
    table = tmp_path / "audit.csv"
    edited = table.read_text().replace(",yes,", ",no,", 1)
    table.write_text(edited)
    with pytest.raises(DataError, match=r"audit.csv': would be replaced, .* it was changed since; .*overwrite=true"):
        main([f"root={flawed_set}", f"out={tmp_path}"])
    assert table.read_text() == edited
    main([f"root={flawed_set}", f"out={tmp_path}", "pictures=0", "overwrite=true"])
    assert table.read_text() != edited


def test_names_are_escaped(tmp_path):
    root = write_set(tmp_path / "<b>set", {"<i>": ("train", draw_photo(0), np.zeros((SIDE, SIDE), np.uint8))})
    main([f"root={root}", f"out={tmp_path}"])
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<i>" not in text.split("</style>")[1].replace("<i style", "")
    assert "&lt;i&gt;" in text


def test_nothing_found(tmp_path, capsys):
    root = write_set(tmp_path / "set", {"one": ("train", draw_photo(0), draw_label())})
    main([f"root={root}", f"out={tmp_path}"])
    assert ": 0 training images excluded" in capsys.readouterr().out
    assert "Nothing was found." in (tmp_path / "audit.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], ConfigError, "root is not set"),
        (["root=nowhere"], DataError, "root is 'nowhere', .*: .* or draw faces with `facekp synthetic`$"),
        (["root=.", "workers=0"], ConfigError, "workers is 0: give at least 1"),
        (["root=.", "pictures=-1"], ConfigError, "pictures is -1"),
    ],
)
def test_settings_that_cannot_be_used(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        main(arguments)
    assert not list(tmp_path.iterdir())  # not even the folder of the results


def test_an_official_folder_has_to_be_prepared(tmp_path):
    for name in ("CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebA-HQ-to-CelebA-mapping.txt"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"the official layout: prepare it \(facekp prepare raw="):
        main([f"root={tmp_path}"])


@pytest.fixture(scope="module")
def known(real_root):
    """Return the rows of flaws.csv, by id, of 90 real faces whose flaws are known."""
    table = real_root / "flawed" / "flaws.csv"
    if not table.is_file():
        pytest.skip(f"no faces with known flaws: {table} is not there")
    with table.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def found(real_root, known, tmp_path_factory):
    """Return what the audit finds in them: id and other id by kind."""
    root = tmp_path_factory.mktemp("flawed")
    for name in ("images", "labels"):
        (root / name).symlink_to(real_root / "flawed" / name)
    (root / "index.csv").write_text("id,split\n" + "".join(f"{name},train\n" for name in known))
    found = defaultdict(set)
    for finding in audit(root):
        found[finding.kind].add((finding.id, finding.other_id))
    return found


@pytest.mark.slow
class TestRealFaces:
    def test_at_least_95_percent_of_the_reversed_are_found(self, known, found):
        true = {name for name, row in known.items() if row["flaw"] == "reversed"}
        part = {name for name, row in known.items() if row["flaw"] == "partly_reversed"}
        reversed_, partly = ({name for name, _ in found[kind]} for kind in ("reversed", "partly_reversed"))
        assert len(true) == 68
        assert len(true & reversed_) >= 0.95 * 68
        assert true | part == reversed_ | partly  # each of them is found, and no duplicate is taken for one

    def test_all_pairs_of_duplicates_are_found_and_no_other_flaw_but_a_few_stray_pixels(self, known, found):
        pairs = {(name, row["duplicate_of"]) for name, row in known.items() if row["duplicate_of"]}
        assert len(pairs) == 7
        assert found["near_duplicate"] | found["duplicate"] == pairs
        assert {kind for kind in found if found[kind]} == {"reversed", "partly_reversed", "near_duplicate", "tiny"}

    def test_an_eye_whose_label_is_taken_away_is_missed(self, real_root, known):
        noticed = 0
        for name in (name for name, row in known.items() if row["flaw"] == "duplicate"):
            image = np.array(Image.open(real_root / "flawed" / "images" / f"{name}.jpg"))
            label = np.array(Image.open(real_root / "flawed" / "labels" / f"{name}.png"))
            assert not any(flaw.kind == "missing" for flaw in check_face(image, label))
            label[label == 5] = 1
            noticed += any(flaw.kind == "missing" for flaw in check_face(image, label))
        assert noticed >= 10  # of the 12 that have one

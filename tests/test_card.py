"""The model card's figures: groups, comparisons and worst images against numbers worked out by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.card import contrast as contrasting
from benchmarks.card import sheets
from benchmarks.card.__main__ import Settings, main
from benchmarks.card.contrast import contrast, resample, true_scores
from benchmarks.card.groups import GROUPS, Group, Placed, count_shared, highest_tenth, lowest_tenth, place_all
from benchmarks.card.labelled import Labelled, face_luma, hair_over_face, hidden_eye, turn, uneven_light
from benchmarks.card.scores import Parsed, class_scores, count_images, image_scores, score
from benchmarks.card.sheets import Shown, claim_folder, draw_sheet
from benchmarks.card.tables import tables
from benchmarks.card.worst import find_errors, rank, report_worst
from facekp.classes import ATTRIBUTES, PALETTE
from facekp.cli import parse_cli
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.errors import ConfigError
from facekp.evaluate import load_scorer
from facekp.images import read_image, read_label, write_label
from facekp.models import build_model
from facekp.weights.checkpoint import KEY, describe
from facekp.weights.paths import TERMS

BACKGROUND, SKIN, NOSE, GLASSES, HAIR, HAT, EARRING = 0, 1, 2, 3, 13, 14, 15
REPOSITORY = Path(__file__).parents[1]


def face(size=(20, 20), photo=None, **boxes: tuple[int, int, int, int]) -> Labelled:
    """A label of boxes (left, top, right, bottom), both ends inside, the later over the earlier."""
    label = np.zeros(size, np.uint8)
    for name, (left, top, right, bottom) in boxes.items():
        label[top : bottom + 1, left : right + 1] = ATTRIBUTES.index(name)
    return Labelled(np.zeros((*size, 3), np.uint8) if photo is None else photo, label)


def confusion(counts: dict[tuple[int, int], int]) -> np.ndarray:
    """The matrix of `{(truth, prediction): pixels}`."""
    matrix = np.zeros((19, 19), np.int64)
    for place, count in counts.items():
        matrix[place] = count
    return matrix


def compare(ours: list[np.ndarray], theirs: list[np.ndarray], resamples=200):
    inside = np.arange(len(ours) + len(theirs)) < len(ours)
    return contrast(np.stack([*ours, *theirs]), Placed(inside, ~inside), resamples)


class TestMeasures:
    def test_hair_within_the_hull_of_the_inner_parts(self) -> None:
        # Corners at 2 and 12: 11 x 11 pixels; the hair's two rows reach beyond them on either side.
        corners = {"r_brow": (2, 2, 2, 2), "l_brow": (12, 2, 12, 2), "u_lip": (2, 12, 2, 12), "l_lip": (12, 12, 12, 12)}
        assert hair_over_face(face(hair=(0, 5, 19, 6), **corners)) == pytest.approx(2 * 11 / 121)
        assert hair_over_face(face(hair=(0, 0, 19, 1), **corners)) == 0
        assert math.isnan(hair_over_face(face(skin=(2, 2, 9, 9), hair=(0, 0, 19, 1))))

    def test_a_fringe_of_one_hundredth_is_in_the_group(self) -> None:
        placed = GROUPS["hair_over_face"].place(np.array([0.0099, 0.01, math.nan, 0.0]))
        assert placed.inside.tolist() == [False, True, False, False]
        assert placed.others.tolist() == [True, False, False, True]

    @pytest.mark.parametrize(
        ("name", "without", "within"),
        [
            ("glasses", {}, {"eye_g": (4, 4, 4, 4)}),
            ("hat", {}, {"hat": (4, 4, 4, 4)}),
            ("earring", {}, {"ear_r": (4, 4, 4, 4)}),
            ("necklace", {}, {"neck_l": (4, 4, 4, 4)}),
            ("open_mouth", {}, {"mouth": (4, 4, 4, 4)}),
            ("hidden_brow", {"r_brow": (3, 3, 4, 4), "l_brow": (9, 3, 10, 4)}, {"l_brow": (9, 3, 10, 4)}),
            ("hidden_eye", {"r_eye": (3, 3, 4, 4), "l_eye": (9, 3, 10, 4)}, {"r_eye": (3, 3, 4, 4)}),
            ("one_ear", {"l_ear": (1, 1, 1, 1), "r_ear": (3, 1, 3, 1)}, {"r_ear": (3, 1, 3, 1)}),
            ("one_ear", {}, {"l_ear": (1, 1, 1, 1)}),
            ("no_hair", {"hair": (1, 1, 1, 1)}, {"skin": (1, 1, 5, 5)}),
        ],
    )
    def test_what_the_label_has_or_lacks(self, name: str, without: dict, within: dict) -> None:
        values = np.array([GROUPS[name].measure(face(**boxes)) for boxes in (without, within)])
        assert GROUPS[name].place(values).inside.tolist() == [False, True]

    def test_eyes_behind_glasses_are_not_judged(self) -> None:
        assert math.isnan(hidden_eye(face(r_eye=(3, 3, 4, 4), eye_g=(9, 3, 12, 6))))

    def test_turn_is_along_the_eyes_line(self) -> None:
        level = {"r_eye": (4, 5, 4, 5), "l_eye": (14, 5, 14, 5)}
        assert turn(face(nose=(11, 10, 11, 10), **level)) == pytest.approx((11 - 9) / 10)
        assert turn(face(nose=(6, 10, 6, 10), **level)) == pytest.approx(-0.3)
        # From (2, 2) to (12, 12), middle (7, 7): (-2, 6) . (10, 10) / 200.
        rolled = face(r_eye=(2, 2, 2, 2), l_eye=(12, 12, 12, 12), nose=(5, 13, 5, 13))
        assert turn(rolled) == pytest.approx(0.2)
        assert math.isnan(turn(face(l_eye=(14, 5, 14, 5), nose=(11, 10, 11, 10))))
        values = np.array([0.2, -0.3, math.nan])
        assert GROUPS["turned_left"].place(values).inside.tolist() == [True, False, False]
        assert GROUPS["turned_left"].place(values).others.tolist() == [False, True, False]
        assert GROUPS["turned_head"].measure(face(nose=(6, 10, 6, 10), **level)) == pytest.approx(0.3)

    def test_luma_of_skin_and_nose_and_of_the_photo(self) -> None:
        photo = np.full((20, 20, 3), 200, np.uint8)
        photo[0, :3], photo[0, 3] = 100, (255, 0, 0)  # red alone: 0.299 * 255 = 76.2
        dark = face(photo=photo, skin=(0, 0, 2, 0), nose=(3, 0, 3, 0))
        assert face_luma(dark) == pytest.approx((3 * 100 + 76) / 4)
        assert GROUPS["dark_photo"].measure(dark) == pytest.approx((3 * 100 + 76 + 396 * 200) / 400)
        assert math.isnan(face_luma(face(photo=photo)))

    def test_uneven_light_is_the_difference_of_the_halves_over_their_mean(self) -> None:
        photo = np.full((20, 20, 3), 50, np.uint8)
        photo[:, 10:] = 150
        assert uneven_light(face(photo=photo, skin=(5, 5, 15, 15), nose=(10, 8, 10, 9))) == pytest.approx(
            (150 - 50) / 100
        )
        assert math.isnan(uneven_light(face(photo=photo, skin=(5, 5, 9, 9), nose=(10, 8, 10, 9))))
        assert math.isnan(uneven_light(face(photo=photo, skin=(5, 5, 15, 15))))


class TestGroups:
    def test_tenths(self) -> None:
        values = np.array([*range(24), -5, -5.0])  # 26: three; of the two fives both, then 0
        assert np.flatnonzero(lowest_tenth(values)).tolist() == [0, 24, 25]
        assert np.flatnonzero(highest_tenth(values)).tolist() == [21, 22, 23]
        assert np.flatnonzero(lowest_tenth(np.array([3.0, 1.0]))).tolist() == [1]

    def test_dark_and_bright_take_the_ends_of_what_could_be_measured(self) -> None:
        values = np.array([math.nan, *range(100, 120)])
        assert np.flatnonzero(GROUPS["dark_face"].place(values).inside).tolist() == [1, 2]
        assert np.flatnonzero(GROUPS["bright_face"].place(values).inside).tolist() == [19, 20]
        assert GROUPS["dark_face"].place(values).others.tolist() == [False] * 3 + [True] * 18

    def test_nobody_can_be_measured(self) -> None:
        placed = GROUPS["dark_face"].place(np.array([math.nan, math.nan]))
        assert not placed.inside.any()
        assert not placed.others.any()

    def test_what_groups_share(self) -> None:
        members = {"a": [1, 1, 0, 1], "b": [0, 1, 0, 1], "c": [0, 0, 1, 0]}
        placed = {name: Group("", float).place(np.array(own, float)) for name, own in members.items()}
        assert count_shared(placed) == {"a": {"b": 2}, "b": {"a": 2}, "c": {}}

    def test_faces_are_measured_in_their_order(self, tiny_root: Path) -> None:
        samples = FaceDataModule(DataConfig(root=str(tiny_root)), seed=0, total_steps=0).split("train")
        groups = {"id": Group("", lambda one: float(one.label[40, 40])), "ten": Group("", lambda _: 10.0)}
        placed = place_all(samples, groups)
        labels = [np.array(Image.open(sample.label)) for sample in samples]
        assert placed["id"].inside.tolist() == [bool(label[40, 40]) for label in labels]
        assert len(set(placed["id"].inside)) == 2
        assert placed["ten"].inside.all()


class TestContrast:
    wearing = confusion({(SKIN, SKIN): 8, (SKIN, HAIR): 2, (HAIR, HAIR): 10, (GLASSES, GLASSES): 4})
    plain = confusion({(SKIN, SKIN): 10, (HAIR, HAIR): 10})
    mistaken = confusion({(SKIN, SKIN): 10, (HAIR, HAIR): 10, (SKIN, GLASSES): 5})

    def test_what_is_not_true_has_no_score(self) -> None:
        f1, iou = true_scores(self.mistaken)
        assert f1[SKIN] == pytest.approx(20 / 25)
        assert iou[SKIN] == pytest.approx(10 / 15)
        assert np.isnan(f1[[GLASSES, HAT]]).all()  # false positive, and not there at all
        assert np.isnan(iou[[GLASSES, HAT]]).all()

    def test_like_is_compared_with_like(self) -> None:
        row = compare([self.wearing] * 10, [self.plain] * 9 + [self.mistaken])
        # Glasses are in the ground truth of one side only: neither found ones nor false positives count.
        assert row["classes"] == ["skin", "hair"]
        assert (row["images"], row["others"]) == (10, 10)
        assert row["mean_f1"]["group"] == pytest.approx((160 / 180 + 200 / 220) / 2, abs=1e-6)
        assert row["mean_f1"]["others"] == pytest.approx((200 / 205 + 1) / 2, abs=1e-6)
        assert row["miou"]["group"] == pytest.approx((80 / 100 + 100 / 120) / 2, abs=1e-6)
        assert row["miou"]["others"] == pytest.approx((100 / 105 + 1) / 2, abs=1e-6)
        for figures in (row["mean_f1"], row["miou"]):
            assert figures["difference"] == pytest.approx(figures["group"] - figures["others"], abs=2e-6)
            assert figures["low"] <= figures["difference"] <= figures["high"] < 0

    def test_background_counts_for_iou_alone(self) -> None:
        ours = confusion({(BACKGROUND, BACKGROUND): 8, (BACKGROUND, SKIN): 2, (SKIN, SKIN): 5})
        theirs = confusion({(BACKGROUND, BACKGROUND): 10, (SKIN, SKIN): 5})
        row = compare([ours] * 10, [theirs] * 10)
        assert row["classes"] == ["background", "skin"]
        assert row["mean_f1"]["group"] == pytest.approx(10 / 12, abs=1e-6)
        assert row["miou"]["group"] == pytest.approx((8 / 10 + 5 / 7) / 2, abs=1e-6)
        assert row["mean_f1"]["others"] == row["miou"]["others"] == 1

    @pytest.mark.parametrize(("wearers", "classes"), [(4, ["skin", "hair"]), (5, ["skin", "eye_g", "hair"])])
    def test_a_class_of_a_few_images_does_not_count(self, wearers: int, classes: list[str]) -> None:
        row = compare([self.wearing] * 10, [self.wearing] * wearers + [self.plain] * 9)
        assert row["classes"] == classes

    def test_few_images_are_not_compared(self) -> None:
        row = compare([self.wearing] * 9, [self.plain] * 30)
        assert (row["images"], row["others"]) == (9, 30)
        assert (row["classes"], row["mean_f1"], row["miou"]) == ([], None, None)
        assert compare([self.wearing] * 30, [])["mean_f1"] is None
        blank = confusion({(BACKGROUND, BACKGROUND): 9})
        assert compare([blank] * 10, [blank] * 10)["miou"] is None

    def test_every_class_of_either_side_by_itself(self) -> None:
        f1 = compare([self.wearing] * 2, [self.plain, self.mistaken])["f1"]
        assert (f1["group"]["eye_g"], f1["group"]["hat"]) == (1, None)
        assert f1["group"]["skin"] == pytest.approx(16 / 18, abs=1e-6)
        assert f1["others"]["eye_g"] == 0  # a plain score: what is not there counts
        assert f1["others"]["skin"] == pytest.approx(40 / 45, abs=1e-6)

    def test_what_cannot_be_measured_is_on_neither_side(self) -> None:
        placed = Group("", float).place(np.array([1.0] * 10 + [math.nan] * 5 + [0.0] * 10))
        row = contrast(np.stack([self.wearing] * 10 + [self.mistaken] * 5 + [self.wearing] * 10), placed)
        assert (row["images"], row["others"], row["mean_f1"]["difference"]) == (10, 10, 0)

    def test_a_resample_without_any_class_says_nothing(self) -> None:
        # The one class is in half of ten images, and in none of one resample in a thousand.
        found, blank = confusion({(SKIN, SKIN): 9}), confusion({(BACKGROUND, BACKGROUND): 9})
        figures = compare([found] * 5 + [blank] * 5, [found] * 10, resamples=9000)["mean_f1"]
        assert (figures["low"], figures["high"]) == (0, 0)

    def test_images_that_are_all_alike_leave_no_doubt(self) -> None:
        figures = compare([self.wearing] * 10, [self.plain] * 12)["mean_f1"]
        assert figures["low"] == figures["high"] == figures["difference"]

    def test_the_interval_is_that_of_the_binomial_distribution(self) -> None:
        # Of ten images five are found wholly, five not at all. Drawn again, k of ten are found, k binomial with 1/2:
        # P(k <= 1) = 0.011, P(k <= 2) = 0.055, so 2 is the 2.5th percentile, and by symmetry 8 the 97.5th. F1 is then
        # 2 * 10 k / (100 + 10 k) = 40 / 120 and 160 / 180. Everything is found in the others.
        found, missed = confusion({(SKIN, SKIN): 10}), confusion({(SKIN, BACKGROUND): 10})
        row = compare([found] * 5 + [missed] * 5, [found] * 10, resamples=4000)
        assert row["mean_f1"]["difference"] == pytest.approx(100 / 150 - 1, abs=1e-6)
        assert row["mean_f1"]["low"] == pytest.approx(40 / 120 - 1, abs=1e-6)
        assert row["mean_f1"]["high"] == pytest.approx(160 / 180 - 1, abs=1e-6)
        assert row["miou"]["low"] == pytest.approx(0.2 - 1, abs=1e-6)

    def test_the_interval_covers_a_known_difference(self) -> None:
        # Of each image's 100 pixels a share is found that is even in [0.6, 1], and in [0.8, 1] in the others. F1 of all
        # images there are is 2 p / (1 + p) at the mean shares 0.8 and 0.9.
        known = 1.6 / 1.8 - 1.8 / 1.9
        rng = np.random.default_rng(1)
        inside, covered = np.arange(80) < 40, 0
        for _ in range(100):
            hits = rng.binomial(100, rng.uniform(np.where(inside, 0.6, 0.8), 1))
            confusions = np.zeros((80, 19, 19), np.int64)
            confusions[:, SKIN, SKIN], confusions[:, SKIN, BACKGROUND] = hits, 100 - hits
            figures = contrast(confusions, Placed(inside, ~inside), 300)["mean_f1"]
            covered += figures["low"] <= known <= figures["high"]
        assert 89 <= covered <= 99  # 95 are expected; so few or many come by chance once in a hundred

    def test_resampling_draws_as_many_images_again(self) -> None:
        counts = np.zeros((7, 19, 19), np.int64)
        counts[:, 1, SKIN] = 10 ** np.arange(7)  # a digit for each image
        sums = resample(counts, 50, np.random.default_rng(0))[:, 1, SKIN].astype(int)
        assert {sum(map(int, str(value))) for value in sums} == {7}
        assert len(set(sums)) > 40

    def test_chunks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        images = np.random.default_rng(0).integers(0, 50, (15, 19, 19))
        whole = resample(images, 50, np.random.default_rng(1))
        monkeypatch.setattr(contrasting, "CHUNK", 7)
        np.testing.assert_array_equal(resample(images, 50, np.random.default_rng(1)), whole)


class TestWorst:
    images = np.stack(
        [
            confusion({(BACKGROUND, BACKGROUND): 90, (SKIN, SKIN): 8, (SKIN, HAIR): 2}),
            confusion({(BACKGROUND, BACKGROUND): 100}),
            confusion({(SKIN, SKIN): 10, (HAT, HAIR): 6, (HAIR, HAIR): 3, (NOSE, NOSE): 1}),
            confusion({(SKIN, BACKGROUND): 6, (SKIN, SKIN): 4}),
        ]
    )

    def test_scores_of_images(self) -> None:
        f1, iou = class_scores(self.images)
        # Skin 16 / 18, and hair, a false positive, 0; nothing there; skin 1, nose 1, hair 6 / 12, hat 0; skin 8 / 14.
        want = [(16 / 18 + 0) / 2, 1, (1 + 1 + 6 / 12 + 0) / 4, 8 / 14]
        np.testing.assert_allclose(image_scores(self.images), want)
        assert np.isnan(f1[:, BACKGROUND]).all()
        assert np.isnan(f1[0, NOSE])
        assert iou[1, BACKGROUND] == 1
        assert iou[2, HAIR] == 3 / 9

    def test_order(self) -> None:
        scores = np.array([0.4, 1.0, 0.3, 0.4])
        assert rank(scores, 3) == [2, 0, 3]
        assert rank(scores, 9) == [2, 0, 3, 1]

    def test_what_is_missed_is_told_from_what_is_imagined(self) -> None:
        assert find_errors(self.images[0]) == {"missed": {}, "false_positive": {"hair": 2}}
        assert find_errors(self.images[1]) == {"missed": {}, "false_positive": {}}
        # Hair's half is not below it.
        assert find_errors(self.images[2]) == {"missed": {"hat": 0.0}, "false_positive": {}}
        # Background that only the prediction has is no class that is found.
        assert find_errors(self.images[3]) == {"missed": {}, "false_positive": {}}
        partly = confusion({(HAIR, SKIN): 7, (HAIR, HAIR): 1, (NOSE, SKIN): 3, (SKIN, SKIN): 9})
        assert find_errors(partly) == {"missed": {"nose": 0.0, "hair": 0.2222}, "false_positive": {}}
        assert list(find_errors(partly)["missed"]) == ["nose", "hair"]

    def test_what_the_file_says(self) -> None:
        placed = {"hat": Group("", float).place(np.array([0.0, 0, 1, math.nan]))}
        numbers, report = report_worst(["a", "b", "c", "d"], self.images, placed, 3)
        assert numbers == [0, 3, 2]
        assert report["images"] == [
            {"id": "a", "score": 0.4444, "missed": {}, "false_positive": {"hair": 2}, "groups": []},
            {"id": "d", "score": 0.5714, "missed": {}, "false_positive": {}, "groups": []},
            {"id": "c", "score": 0.625, "missed": {"hat": 0.0}, "false_positive": {}, "groups": ["hat"]},
        ]
        assert (report["missed"], report["false_positive"]) == ({"hat": 1}, {"hair": 1})
        assert report["all"]["mean"] == pytest.approx((4 / 9 + 1 + 0.625 + 8 / 14) / 4, abs=1e-4)
        assert report["all"]["median"] == pytest.approx((8 / 14 + 0.625) / 2, abs=1e-4)


class TestPass:
    def test_every_image_has_a_matrix_of_its_own(self) -> None:
        masks = torch.tensor([[[0, 1], [1, 2]], [[13, 13], [13, 13]]])
        labels = torch.tensor([[[0, 1], [2, 2]], [[13, 255], [14, 13]]])
        photos = torch.zeros(2, 2, 2, 3, dtype=torch.uint8)
        counts = count_images(iter([Parsed(photos, labels, masks), Parsed(photos[:1], labels[:1], masks[:1])]))
        first = confusion({(0, 0): 1, (1, 1): 1, (2, 1): 1, (2, 2): 1})
        np.testing.assert_array_equal(counts, [first, confusion({(13, 13): 2, (14, 13): 1}), first])
        assert counts.dtype == np.int64

    def test_scores_of_a_sum(self) -> None:
        scores = score(np.stack([confusion({(1, 1): 4}), confusion({(1, 2): 1, (2, 2): 3})]))
        # Skin: 4 hits, 5 true, 4 predicted; nose: 3 hits, 3 true, 4 predicted.
        assert scores["f1"]["skin"] == pytest.approx(8 / 9, abs=1e-6)
        assert scores["iou"]["nose"] == pytest.approx(3 / 4)
        assert scores["mean_f1"] == pytest.approx((8 / 9 + 6 / 7) / 2, abs=1e-6)
        assert scores["f1"]["hat"] is None


class TestPictures:
    @staticmethod
    def shown(text: str = "1. a: 0.4") -> Shown:
        photo = np.full((32, 32, 3), 100, np.uint8)
        return Shown(photo, np.full((32, 32), HAIR, np.uint8), np.zeros((32, 32), np.uint8), text)

    def test_photo_truth_and_prediction_stand_side_by_side(self) -> None:
        (panel, empty) = draw_sheet([self.shown("1. a: 0.4\nmissed: " + "hair " * 40)]).axes
        photo, truth, mask = np.split(panel.images[0].get_array(), 3, axis=1)
        assert (photo == 100).all()
        np.testing.assert_allclose(truth[5, 5], 0.55 * 100 + 0.45 * np.array(PALETTE[HAIR]), atol=1)
        assert (mask == 100).all()  # background is not tinted
        assert len(panel.get_title("left").splitlines()) == 3  # long lines go on below
        assert not empty.images

    def test_ten_to_a_sheet_in_their_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn = []
        monkeypatch.setattr(sheets, "draw_sheet", lambda images: (drawn.append(images), draw_sheet(images[:1]))[1])
        sheets.write_sheets(tmp_path, (self.shown(str(number)) for number in range(13)))
        assert [[int(one.text) for one in images] for images in drawn] == [[*range(10)], [10, 11, 12]]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["sheet-1.png", "sheet-2.png"]

    def test_a_new_an_empty_or_an_earlier_folder_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("new/one", "empty", "empty"):
            folder = tmp_path / name
            claim_folder(folder)
            assert [path.name for path in folder.iterdir()] == [".gitignore"]
            assert (folder / ".gitignore").read_text() == "*\n"
            (folder / "sheet-4.png").touch()  # of this call, and stale at the next

    @pytest.mark.parametrize(
        ("name", "content"), [("notes.txt", "mine"), (".gitignore", "*.pyc\n"), ("sheet-1.png", "")]
    )
    def test_another_folder_is_refused_and_left_as_it_is(self, tmp_path: Path, name: str, content: str) -> None:
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=r"pictures is '.*': there are other files in it; give a new or an empty"):
            claim_folder(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).read_text() == content


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a prepared data set of 24 validation faces of 64 pixels; every other one wears an earring."""
    root = tmp_path_factory.mktemp("faces")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    parts = [(13, 32, 26, 24, 24), (1, 32, 34, 16, 20), (4, 40, 28, 4, 2), (5, 24, 28, 4, 2), (2, 32, 36, 4, 6)]
    parts += [(6, 40, 23, 5, 1.5), (7, 24, 23, 5, 1.5), (11, 32, 46, 6, 2), (12, 32, 48, 6, 2), (15, 14, 42, 3, 3)]
    for i in range(24):
        label = np.zeros((64, 64), np.uint8)
        for class_id, cx, cy, rx, ry in parts[: None if i % 2 else -1]:
            dx, dy = rng.uniform(-2, 2, 2)
            label[((x - cx - dx) / rx) ** 2 + ((y - cy - dy) / ry) ** 2 <= 1] = class_id
        image = np.clip(np.array(PALETTE)[label] + rng.normal(0, 8, (64, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{i:05d}.jpg", quality=95)
        write_label(root / "labels" / f"{i:05d}.png", label)
    rows = [f"{i:05d},val" for i in range(24)]
    (root / "index.csv").write_text("\n".join(["id,split", *rows]) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of a network with random weights, as training would."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("ckpt") / "best.ckpt"
    weights = {f"net.{name}": value for name, value in build_model("resnet18").state_dict().items()}
    torch.save({KEY: describe({"name": "resnet18", "pretrained": False}, 64), "state_dict": weights}, path)
    return path


def scored(checkpoint: Path, root: Path, size: int, every: slice = slice(None)):
    """What `facekp.evaluate` gives for some of the faces."""
    data = FaceDataModule(DataConfig(root=str(root), size=size, workers=0), seed=0, total_steps=0)
    data.samples["val"] = data.split("val")[every]
    return load_scorer(str(checkpoint), "auto", "cpu")(data.evaluation_loader("val"))


def test_from_end_to_end(
    faces: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Shown] = []
    monkeypatch.setattr(sheets, "draw_sheet", lambda images: (drawn.extend(images), draw_sheet(images[:1]))[1])
    out, pictures = tmp_path / "out" / "card.json", tmp_path / "worst"
    main([f"ckpt={checkpoint}", f"data.root={faces}", "data.workers=0", "device=cpu", "sizes=[32,64]", "worst=12",
          f"out={out}", f"pictures={pictures}"])  # fmt: skip
    card = json.loads(out.read_text())
    assert {"machine", "versions", "date", "sha256"} <= set(card)
    assert (card["ckpt"], card["split"], card["images"]) == ("best.ckpt", "val", 24)
    for size in ("32", "64"):
        scores = scored(checkpoint, faces, int(size))
        assert card["scores"][size] == {key: value for key, value in scores.items() if not key.startswith("loss")}

    # At the last of the sizes.
    assert list(card["groups"]) == list(card["shared"]) == list(GROUPS)
    earring = card["groups"]["earring"]
    assert (earring["images"], earring["others"]) == (12, 12)
    sides = {"group": scored(checkpoint, faces, 64, slice(1, None, 2))["f1"]}
    sides["others"] = scored(checkpoint, faces, 64, slice(0, None, 2))["f1"]
    assert earring["f1"] == sides
    assert set(earring["classes"]) <= set(ATTRIBUTES) - {"ear_r", "hat"}
    for side, f1 in sides.items():
        counted = [f1[name] for name in earring["classes"] if name != "background"]
        assert earring["mean_f1"][side] == pytest.approx(np.mean(counted), abs=1e-5)
    assert card["groups"]["glasses"]["mean_f1"] is None
    assert card["groups"]["dark_face"]["images"] == 2

    images = card["worst"]["images"]
    scores = [image["score"] for image in images]
    assert len(images) == len(drawn) == 12
    assert scores == sorted(scores)
    first = int(images[0]["id"])
    assert scores[0] == pytest.approx(scored(checkpoint, faces, 64, slice(first, first + 1))["mean_f1"], abs=1e-4)
    for image, shown in zip(images, drawn, strict=True):
        np.testing.assert_array_equal(shown.photo, read_image(faces / "images" / f"{image['id']}.jpg"))
        np.testing.assert_array_equal(shown.truth, read_label(faces / "labels" / f"{image['id']}.png"))
        false = {ATTRIBUTES[i] for i in set(np.unique(shown.mask)) - set(np.unique(shown.truth)) - {BACKGROUND}}
        assert set(image["false_positive"]) == false
        assert f"{image['id']}: {image['score']:.3f}" in shown.text
    assert {path.name for path in pictures.iterdir()} == {".gitignore", "sheet-1.png", "sheet-2.png"}

    # What is printed is what goes into the model card, and comes out of the file alone.
    printed, told = capsys.readouterr()
    assert printed == "\n\n".join(tables(card)) + "\n"
    assert "not passed on" in told
    (line,) = [line for line in printed.splitlines() if "`earring`" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    f1 = earring["mean_f1"]
    assert cells == ["`earring`", "`ear_r` in the label", "12", "12", f"{f1['group']:.3f}", f"{f1['others']:.3f}",
                     f"{f1['difference']:+.3f}", f"{f1['low']:+.3f} to {f1['high']:+.3f}",
                     str(sum(int(image["id"]) % 2 for image in images))]  # fmt: skip
    (line,) = [line for line in printed.splitlines() if "`glasses`" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")][2:] == ["0", "24", *"----", "0"]


def test_the_model_card_has_the_tables_of_its_file() -> None:
    path = REPOSITORY / "benchmarks" / "card.json"
    if not path.is_file():
        pytest.skip(f"{path} is not written yet: python -m benchmarks.card writes it")
    page = (REPOSITORY / "docs" / "results" / "model_card.md").read_text(encoding="utf-8")
    for table in tables(json.loads(path.read_text(encoding="utf-8"))):
        assert table in page, f"paste into the model card what python -m benchmarks.card prints: {table[:200]}"


def test_nothing_is_written_that_was_not_asked_for(
    faces: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main([f"ckpt={checkpoint}", f"data.root={faces}", "data.workers=0", "device=cpu", "sizes=[32]", "images=5"])
    assert not list(tmp_path.iterdir())
    assert "5 images of val; written: no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "card.json"),
        (["sizes=[512]"], "card.json"),
        (["images=500"], None),
        (["ckpt=best.ckpt"], None),
        (["split=test"], None),
        (["data.source=synthetic"], None),
    ],
)
def test_the_cards_own_file_is_of_all_real_validation_images(arguments: list[str], name: str | None) -> None:
    path = parse_cli(Settings, arguments, program="", about="").path()
    assert path == (REPOSITORY / "benchmarks" / name if name else None)
    assert parse_cli(Settings, [*arguments, "out=x/y.json"], program="", about="").path() == Path("x/y.json")


@pytest.mark.parametrize("setting", ["out", "pictures"])
def test_a_place_that_cannot_be_written_is_told_before_measuring(
    checkpoint: Path, tmp_path: Path, setting: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    # Were anything measured, the data set would be missed first.
    with pytest.raises(ConfigError, match=f"{setting} is '.*mine'"):
        main([f"ckpt={checkpoint}", "device=cpu", f"{setting}={tmp_path / 'mine'}"])


def test_help_prints_the_terms_of_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert TERMS in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("sizes=[512,100]", r"sizes is \[512, 100\]: give multiples of 32"),
        ("sizes=[]", r"sizes is \[\]: give multiples of 32"),
        ("data.size=448", r"data.size is 448: give sizes=\[\.\.\.\], which decides here"),
        ("images=0", "images is 0: give at least 1"),
        ("worst=0", "worst is 0: give at least 1"),
        ("split=valid", "split is 'valid': choose one of train, val, test"),
    ],
)
def test_bad_settings_are_named(argument: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_cli(Settings, ["ckpt=x", argument], program="", about="")

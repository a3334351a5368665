"""Regions, soft masks and tables of ids, by hand on a few pixels."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers.shapes import HAIR, NOSE, BrightIsNose, picture
from scipy.stats import norm

from facekp import FaceParser
from facekp.classes import CELEBAMASK_HQ
from facekp.data.class_sets import ID_TABLES
from facekp.errors import ConfigError
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import Face, face_from_mask
from facekp.parsing.face_crop import Crop
from facekp.parsing.id_tables import read_ids
from facekp.parsing.regions import class_ids
from facekp.parsing.soft_mask import ClassScores, feathered, grown

NAMES = CELEBAMASK_HQ.names

SKIN, HAT = 1, 14
EVERY_CLASS = np.arange(19, dtype=np.uint8)[None]


def scored(shape, crop=None, **scores):
    """Return scores (h, w) by class; the other classes have none."""
    values = np.full((*shape, 19), -1e3, np.float32)
    for name, own in scores.items():
        values[..., CELEBAMASK_HQ.index(name)] = own
    return ClassScores(values, crop)


def test_a_region_is_the_union_of_its_classes():
    face = Face(EVERY_CLASS, {}, (0, 0, 19, 1))
    for region, ids in {
        "hair": [13], "eyes": [4, 5], ("eyes", "hair"): [4, 5, 13], "brows+nose": [2, 6, 7], "background": [0],
    }.items():  # fmt: skip
        assert np.flatnonzero(face.region(region)).tolist() == ids
    assert (face.region("face").dtype, face.region("face").shape) == (bool, (1, 19))


def test_groups_cover_what_they_say():
    names = {group: {NAMES[i] for i in class_ids(group)} for group in CELEBAMASK_HQ.groups}
    everything = set(NAMES) - {"background"}
    assert names["person"] == everything
    # A person is a head, in which there is a face, and a body.
    assert names["head"] | names["body"] == everything
    assert not names["head"] & names["body"]
    assert names["head"] - names["face"] == {"hair", "hat", "ear_r"} | names["ears"]
    assert names["features"] == names["face"] - {"skin", "eye_g"}
    assert names["features"] == names["eyes"] | names["brows"] | names["mouth_area"] | {"nose"}
    assert names["mouth_area"] - names["lips"] == {"mouth"}
    assert names["skin_area"] == {"skin", "nose", "neck"} | names["ears"]
    assert names["accessories"] == {"eye_g", "hat", "ear_r", "neck_l"}
    assert not CELEBAMASK_HQ.groups.keys() & set(NAMES)


def test_a_region_that_does_not_exist_is_named_with_the_nearest():
    face = Face(EVERY_CLASS, {}, (0, 0, 19, 1))
    for wrong in ("lipps", ("hair", "lipps"), "hair+lipps"):
        with pytest.raises(ConfigError, match="no region is called 'lipps': did you mean 'lips'"):
            face.region(wrong)
    for empty in ((), ""):
        with pytest.raises(ConfigError, match="region"):
            face.region(empty)


def test_the_probability_of_a_union_is_the_sum_of_its_softmax():
    # Weights 1, 2 and 5 of 8.
    scores = scored((1, 1), skin=0, hair=np.log(2), hat=np.log(5))
    for ids, want in (((HAIR,), 2 / 8), ((HAIR, HAT), 7 / 8), ((SKIN, HAT), 6 / 8), (tuple(range(19)), 1), ((0,), 0)):
        np.testing.assert_allclose(scores.probability(ids, (2, 3)), np.full((2, 3), want), atol=1e-3)


def test_between_the_scores_log_odds_are_interpolated_to_the_photos_pixels():
    scores = scored((1, 2), skin=0, hair=[-2, 2])
    # Pixels at a quarter, three quarters, ... of the two scores; -1 and 1 lie between them.
    odds = np.array([[-2, -1, 1, 2]])
    np.testing.assert_allclose(scores.probability((HAIR,), (1, 4)), 1 / (1 + np.exp(-odds)), atol=1e-3)
    # Those of classes that cannot win are finite: -60,000, three quarters of it and 2, a quarter of it and 2, and 2.
    scores = scored((1, 2), skin=0, hair=[-1e9, 2])
    want = [[0, 0, 0, 1 / (1 + np.exp(-2))]]
    np.testing.assert_allclose(scores.probability((HAIR,), (1, 4)), want, atol=1e-6)


def test_a_turned_crop_is_put_back_and_all_beyond_it_is_background():
    # Four pixels a side at (2, 1) of the photo, a quarter turn clockwise: its right is the photo's lower half.
    crop = Crop(6 + 1j, 4j)
    scores = scored((4, 4), crop, skin=0, hair=np.tile([-9, -9, 9, 9], (4, 1)))
    hair, background = np.zeros((8, 7)), np.ones((8, 7))
    hair[3:5, 2:6], background[1:5, 2:6] = 1, 0
    for class_id, want in ((HAIR, hair), (0, background)):
        np.testing.assert_allclose(scores.probability((class_id,), (8, 7)), want, atol=1e-3)


def test_growing_moves_an_edge_by_whole_pixels():
    alpha = np.zeros((9, 9), np.float32)
    alpha[3:6, 3:6] = 0.5
    assert [np.count_nonzero(grown(alpha, pixels)[4]) for pixels in (0, 0.4, 2, 2.4, -1, -2)] == [3, 3, 7, 7, 1, 0]
    assert grown(alpha, 2)[1, 1] == 0  # a disc has no corners
    assert grown(alpha, 2).max() == 0.5
    full = np.ones((4, 4), np.float32)
    np.testing.assert_array_equal(grown(full, -2), full)  # the photo's border is no edge


def test_feathering_blurs_by_a_gaussian_whose_deviation_is_given():
    alpha = np.zeros((5, 60), np.float32)
    alpha[:, 30:] = 1
    blurred = feathered(alpha, 4)
    np.testing.assert_allclose(blurred[2], norm.cdf(np.arange(60) - 29.5, scale=4), atol=2e-3)
    np.testing.assert_array_equal(blurred[0], blurred[2])
    assert max(feathered(np.ones((5, 5), np.float32), sigma).max() for sigma in np.linspace(0.5, 9, 50)) == 1


@pytest.fixture(scope="module")
def face():
    """Return a nose of 192 x 192 pixels in hair, 512 x 512."""
    (face,) = FaceParser(BrightIsNose(), keypoints=KeypointConfig(n=16))(picture(512, 512, 64, 128, 192), align="none")
    return face


def test_a_parsed_faces_alpha_follows_its_mask(face):
    alpha = face.alpha("nose")
    assert (alpha.dtype, alpha.shape, alpha.min(), alpha.max()) == (np.float32, face.mask.shape, 0, 1)
    assert np.count_nonzero((alpha > 0.5) != face.region("nose")) < 0.002 * alpha.size
    others = [name for name in NAMES if name != "nose"]
    np.testing.assert_allclose(face.alpha(others), 1 - alpha, atol=1e-5)
    probability = face.alpha("nose", certain=1)
    np.testing.assert_allclose(alpha, ((probability - 0.3) / 0.4).clip(0, 1), atol=1e-5)  # OHEM's threshold is 0.7
    # 60 in two of the network's pixels of 16: log-odds pass from -2.9 to 2.9 within 1.6 pixels of the four sides.
    assert np.mean((probability > 0.05) & (probability < 0.95)) == pytest.approx(4 * 192 * 1.6 / alpha.size, rel=0.5)


def test_lengths_below_one_are_shares_of_the_faces_side(face):
    side = np.sqrt(np.count_nonzero(face.region("nose")))  # the only part of a face here
    grown, base = face.alpha("nose", grow=0.1), face.alpha("nose")
    np.testing.assert_array_equal(grown, face.alpha("nose", grow=round(0.1 * side)))
    wider = np.count_nonzero(grown[160] > 0.5) - np.count_nonzero(base[160] > 0.5)
    assert wider == 2 * round(0.1 * side) == 38
    np.testing.assert_array_equal(face.alpha("nose", feather=0.02), face.alpha("nose", feather=0.02 * side))


def test_a_face_keeps_the_scores_alone_and_can_be_pickled(face):
    there = pickle.dumps(face)
    assert len(there) - len(pickle.dumps(replace(face, scores=None))) < 32 * 32 * 19 * 4 + 1000
    np.testing.assert_array_equal(pickle.loads(there).alpha("nose", feather=2), face.alpha("nose", feather=2))


def test_wrong_lengths_and_faces_without_scores_are_refused(face):
    for wrong, message in (
        ({"feather": -1}, "feather is -1: give 0 or more"),
        ({"feather": np.nan}, "feather is nan: give pixels"),
        ({"grow": np.inf}, "grow is inf: give pixels"),
        ({"certain": 0.5}, "certain is 0.5: give a probability above 0.5, up to 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            face.alpha("nose", **wrong)
    blank = face_from_mask(face.mask, {NOSE: 1.0, HAIR: 1.0}, KeypointConfig())
    with pytest.raises(ConfigError, match="this face is from a mask: parse the photo"):
        blank.alpha("nose")
    assert np.count_nonzero(blank.region("nose")) == blank.attributes["nose"].area


@pytest.mark.parametrize(
    ("table", "want"),
    [
        # background, skin, nose, glasses, left and right eye, brow and ear, mouth, lips, hair, hat, earring,
        # necklace, neck, clothes
        ("celebamask", list(range(19))),
        ("zllrunning", [0, 1, 10, 6, 4, 5, 2, 3, 7, 8, 11, 12, 13, 17, 18, 9, 15, 14, 16]),
        ("lapa", [0, 1, 6, 1, 5, 4, 3, 2, 0, 0, 8, 7, 9, 10, 0, 0, 0, 0, 0]),
    ],
)
def test_masks_in_the_ids_of_others(table, want):
    face = Face(EVERY_CLASS, {}, (0, 0, 19, 1))
    assert face.mask_as(table).tolist() == [want]
    assert face.mask_as(table).dtype == np.uint8


def test_a_table_of_ones_own_is_a_file_or_a_mapping(tmp_path):
    face, table = (Face(EVERY_CLASS, {}, (0, 0, 19, 1)), dict.fromkeys(NAMES, 0) | {"hair": 255, "hat": 255})
    (tmp_path / "ids.yaml").write_text("".join(f"{name}: {i}\n" for name, i in table.items()))
    (tmp_path / "ids.json").write_text(str(table).replace("'", '"'))
    for given in (table, tmp_path / "ids.yaml", str(tmp_path / "ids.json")):
        assert np.flatnonzero(face.mask_as(given) == 255).tolist() == [13, 14]


def test_tables_that_are_not_complete_or_impossible_are_refused_by_name(tmp_path):
    table = ID_TABLES["lapa"]
    for wrong, message in (
        ({name: i for name, i in table.items() if name not in ("hat", "neck")}, "no id for hat, neck: add them"),
        (table | {"hairs": 3}, "no class is called 'hairs': did you mean 'hair'"),
        (table | {"hair": 256}, "the id of hair is 256: give an integer from 0 to 255"),
        (table | {"hair": -1}, "the id of hair is -1"),
        (table | {"hair": True}, "the id of hair is True"),
        (table | {"hair": 1.0}, "the id of hair is 1.0"),
        ("zlrunning", "ids is 'zlrunning': did you mean 'zllrunning'"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_ids(wrong)
    for text, message in (("[1, 2]", "is not a table"), ("{", "not YAML or JSON"), ("skin: 1", "no id for background")):
        (tmp_path / "ids.yaml").write_text(text)
        with pytest.raises(ConfigError, match=f"ids.yaml'.*{message}"):
            read_ids(tmp_path / "ids.yaml")


def test_the_reference_lists_every_group_and_every_id():
    page = (REPOSITORY / "docs/reference/regions.md").read_text("utf-8")
    for group, classes in CELEBAMASK_HQ.groups.items():
        listed = "all but `background`" if group == "person" else ", ".join(f"`{name}`" for name in classes)
        assert f"| `{group}` | {listed} |\n" in page
    for name in NAMES:
        assert f"| `{name}` | {' | '.join(str(table[name]) for table in ID_TABLES.values())} |\n" in page
    for table in ID_TABLES:
        assert f"`{table}`" in page

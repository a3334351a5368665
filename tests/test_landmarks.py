"""Landmarks of drawn faces, whose true places are known, and of real ones beside two detectors' points."""

import math

import numpy as np
import pytest

from benchmarks.landmarks import CORNERS, GOAL, Gap, fit, held_out, measure
from benchmarks.samples import DLIB, read_detected, true_faces
from facekp.classes import CELEBAMASK_HQ
from facekp.keypoints.landmarks import NUMBERS, Calibration, find_landmarks
from facekp.keypoints.landmarks.calibration import load_calibration, mirrored
from facekp.keypoints.landmarks.names import PARTS
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import face_from_mask

PLAIN = Calibration({}, {})
UNIT = 100.0
"""Pixels between the eyes of a drawn face."""


def lens(u, v, centre, half, above, below):
    """Between two arcs that meet at (centre -+ half), `above` and `below` the line between them in the middle."""

    def within(height, sign):
        radius = (half**2 + height**2) / (2 * height)
        return (u - centre[0]) ** 2 + (v - centre[1] - sign * (radius - height)) ** 2 <= radius**2

    return np.where(v <= centre[1], within(above, 1), within(below, -1)) & (np.abs(u - centre[0]) <= half)


def ellipse(u, v, centre, radii):
    return ((u - centre[0]) / radii[0]) ** 2 + ((v - centre[1]) / radii[1]) ** 2 <= 1


def shapes(u, v):
    """A face in its own units: eyes at (-+0.5, 0), mouth corners at (-+0.4, 1.05)."""
    for side, sign in (("r", -1), ("l", 1)):
        yield f"{side}_ear", ellipse(u, v, (sign * 1.22, 0.1), (0.14, 0.3))
    yield "skin", ellipse(u, v, (0, 0.55), (1.2, 1.35))
    for side, sign in (("r", -1), ("l", 1)):
        yield f"{side}_brow", lens(u, v, (sign * 0.53, -0.28), 0.3, 0.1, 0.06)
        yield f"{side}_eye", lens(u, v, (sign * 0.5, 0), 0.2, 0.09, 0.06)
    yield "nose", (v >= -0.05) & (v <= 0.75) & (np.abs(u) <= 0.08 + 0.2 * (v + 0.05))
    yield "u_lip", lens(u, v, (0, 1.05), 0.4, 0.12, 1e-3)
    yield "l_lip", lens(u, v, (0, 1.05), 0.4, 1e-3, 0.16) & (v > 1.05)


def draw(size=512, unit=UNIT, angle=0.0, centre=None, mirror=False, without=(), over=()):
    """A mask (size, size) of `shapes`, turned clockwise by `angle` degrees, without some, and with others `over` it."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    cx, cy = centre or (size / 2, size / 2 - 0.5 * unit)
    turn = math.radians(angle)
    u = ((x - cx) * math.cos(turn) + (y - cy) * math.sin(turn)) / unit
    v = ((y - cy) * math.cos(turn) - (x - cx) * math.sin(turn)) / unit
    mask = np.zeros((size, size), np.uint8)
    for name, inside in (*shapes(-u if mirror else u, v), *((name, shape(u, v)) for name, shape in over)):
        if name not in without:
            mask[inside] = CELEBAMASK_HQ.index(name)
    return mask


def parse(mask, confidence=1.0, min_area=1e-4):
    confidences = confidence if isinstance(confidence, dict) else dict.fromkeys(range(19), confidence)
    return face_from_mask(mask, confidences, KeypointConfig(min_area=min_area))


def plain_landmarks(face):
    """The landmarks on the masks' edges."""
    contours = {name: attribute.contours for name, attribute in face.attributes.items()}
    return find_landmarks(face.mask, contours, {n: a.confidence for n, a in face.attributes.items()}, PLAIN)


def places(landmarks, unit=UNIT, size=512):
    """Of those that are there, in the drawn face's units."""
    origin = np.array([size / 2, size / 2 - 0.5 * unit])
    return {name: (landmark.xy - origin) / unit for name, landmark in landmarks.items() if landmark.xy is not None}


def rotation(degrees):
    turn = math.radians(degrees)
    return np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])


def mirror_name(name):
    other = {"r_": "l_", "l_": "r_"}.get(name[:2])
    return other + name[2:] if other else name


@pytest.fixture(scope="module")
def drawn():
    return parse(draw())


def test_numbers_are_those_of_the_68_points():
    by_number = {number: name for name, number in NUMBERS.items() if number is not None}
    assert sorted(by_number) == list(range(68))
    assert len(NUMBERS) == 74
    assert sorted(name for part in PARTS for name in part) == sorted(NUMBERS)  # each belongs to one part
    known = {
        **{0: "r_jaw_1", 8: "chin", 16: "l_jaw_1", 17: "r_brow_outer", 21: "r_brow_inner", 24: "l_brow_peak"},
        **{27: "nose_root", 30: "nose_tip", 31: "r_nose_wing", 33: "nose_base", 36: "r_eye_outer", 39: "r_eye_inner"},
        **{42: "l_eye_inner", 45: "l_eye_outer", 48: "r_mouth_corner", 51: "upper_lip_centre", 54: "l_mouth_corner"},
        **{57: "lower_lip_centre", 62: "inner_upper_lip_centre", 66: "inner_lower_lip_centre"},
    }
    assert {number: by_number[number] for number in known} == known


def test_right_and_left_names_trade_places_as_the_68_points_do():
    # How data sets of 68 points flip an image: point k becomes point FLIP[k].
    flip = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46]
    flip += [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
    for name, number in NUMBERS.items():
        if number is not None:
            assert NUMBERS[mirror_name(name)] == flip[number], name


# By hand. An arc of height h over a chord of half length a has radius R = (a^2 + h^2) / 2h, and lies
# sqrt(R^2 - x^2) - (R - h) above the chord at x. Eye, at a third: a = 0.2, x = 0.0667, h = 0.09 -> 0.0811, and
# h = 0.06 -> 0.0536. Brow, at a quarter: a = 0.3, x = 0.15, h = 0.1 -> 0.0770. Lips, at a third: a = 0.4, x = 0.133,
# h = 0.12 -> 0.1072, and h = 0.16 -> 0.1434. The nose reaches 0.08 + 0.16 to either side at its lower edge, the skin
# 1.2 sqrt(1 - (0.562 / 1.35)^2) = 1.0911 at the height of the eyes' centroids, 0.4 (0.09 - 0.06) above their corners.
BY_HAND = {
    "r_eye_outer": (-0.7, 0), "r_eye_inner": (-0.3, 0), "l_eye_inner": (0.3, 0), "l_eye_outer": (0.7, 0),
    "r_eye_upper_outer": (-0.5667, -0.0811), "r_eye_upper_inner": (-0.4333, -0.0811),
    "l_eye_lower_outer": (0.5667, 0.0536), "l_eye_lower_inner": (0.4333, 0.0536), "r_brow_outer": (-0.83, -0.28),
    "r_brow_inner": (-0.23, -0.28), "r_brow_peak": (-0.53, -0.38), "l_brow_outer_arch": (0.68, -0.357),
    "l_brow_inner_arch": (0.38, -0.357), "nose_root": (0, -0.05), "nose_bridge_upper": (0, 0.15),
    "nose_bridge_lower": (0, 0.35), "nose_tip": (0, 0.55), "nose_base": (0, 0.75), "r_nose_wing": (-0.16, 0.75),
    "l_nostril": (0.08, 0.75), "r_mouth_corner": (-0.4, 1.05), "l_mouth_corner": (0.4, 1.05),
    "upper_lip_centre": (0, 0.93), "r_upper_lip_peak": (-0.1333, 0.9428), "lower_lip_centre": (0, 1.21),
    "l_lower_lip_middle": (0.1333, 1.1934), "inner_upper_lip_centre": (0, 1.05),
    "inner_lower_lip_centre": (0, 1.05), "chin": (0, 1.9), "r_jaw_1": (-1.0911, -0.012),
    "l_jaw_1": (1.0911, -0.012), "r_ear_top": (-1.22, -0.2), "r_ear_outer": (-1.36, 0.1), "l_ear_lobe": (1.22, 0.4),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_plain_landmarks_lie_where_they_were_drawn(drawn, name):
    # Sharp corners lose a pixel and more, as what is thinner than a pixel is not in the mask.
    sharp = "brow" in name or name.endswith(("_outer", "_inner", "corner"))
    found = places(plain_landmarks(drawn))[name]
    assert np.hypot(*(found - BY_HAND[name])) * UNIT <= (1.5 if sharp else 0.75)


def test_a_whole_face_shows_all_landmarks_and_json_lists_them(drawn):
    assert list(drawn.landmarks) == list(NUMBERS)
    assert all(landmark.visible and landmark.confidence == 1.0 for landmark in drawn.landmarks.values())
    chin, listed = drawn.landmarks["chin"], drawn.to_dict()["landmarks"]
    assert (chin.xy.dtype, chin.xy.shape) == (np.float32, (2,))
    assert [landmark["name"] for landmark in listed] == list(NUMBERS)
    xy = [round(float(v), 2) for v in chin.xy]
    assert listed[8] == {"name": "chin", "number": 8, "xy": xy, "visible": True, "confidence": 1.0}
    absent = parse(draw(without=("r_ear",))).to_dict()["landmarks"][68]
    assert absent == {"name": "r_ear_top", "number": None, "xy": None, "visible": False, "confidence": 0.0}


def test_the_jaw_line_is_evenly_spaced_on_either_side_of_the_chin(drawn):
    found = places(plain_landmarks(drawn))
    names = sorted((name for name, n in NUMBERS.items() if n is not None and n <= 16), key=NUMBERS.__getitem__)
    steps = np.hypot(*np.diff([found[name] for name in names], axis=0).T)
    # The ellipse's arc from the eyes' height to its lowest point, by numerical integration, in 8 parts; a chord is
    # at most 1 % shorter than its arc.
    t = np.linspace(math.asin(-0.562 / 1.35), math.pi / 2, 100_001)
    arc = np.trapezoid(np.hypot(1.2 * np.sin(t), 1.35 * np.cos(t)), t) / 8
    assert np.all(np.abs(steps - arc) < 0.015 * arc)


@pytest.mark.parametrize(
    ("angle", "unit", "centre"),
    [(30, 100, None), (-30, 70, (240, 190)), (90, 100, (300, 256)), (180, 80, (256, 300)), (8, 55.5, (130.3, 210.6))],
)
def test_landmarks_turn_shift_and_grow_with_the_face(drawn, angle, unit, centre):
    landmarks = parse(draw(unit=unit, angle=angle, centre=centre)).landmarks
    origin = np.array(centre or (256, 256 - 0.5 * unit))
    expected = {name: place @ rotation(angle) * unit + origin for name, place in places(drawn.landmarks).items()}
    errors = {name: np.hypot(*(landmarks[name].xy - xy)) for name, xy in expected.items()}
    # Each of the two drawings has errors of up to a pixel, at sharp corners.
    assert max(errors.values()) < 2
    assert np.mean(list(errors.values())) < 0.6
    assert all(landmark.visible for landmark in landmarks.values())


def test_a_flip_swaps_right_and_left(drawn):
    # A face that is not its own mirror image: turned by 10 degrees, and with one brow half under hair.
    mask = draw(angle=10, over=[("hair", lambda u, v: (u < -0.6) & (v < -0.15))])
    swap = np.arange(19, dtype=np.uint8)
    swap[[4, 5, 6, 7, 8, 9]] = [5, 4, 7, 6, 9, 8]
    face, flipped = parse(mask), parse(np.ascontiguousarray(swap[mask[:, ::-1]]))
    assert not face.landmarks["r_brow_outer"].visible
    for name, landmark in face.landmarks.items():
        twin = flipped.landmarks[mirror_name(name)]
        assert twin.visible == landmark.visible, name
        assert np.abs(twin.xy - [511 - landmark.xy[0], landmark.xy[1]]).max() < 2, name


@pytest.mark.parametrize(("size", "unit"), [(64, 13), (2000, 450)])
def test_small_and_large_faces(drawn, size, unit):
    mask = draw(size, unit) if size < 512 else draw(size // 2, unit / 2).repeat(2, 0).repeat(2, 1)
    found, expected = places(parse(mask).landmarks, unit, size), places(drawn.landmarks)
    assert set(found) == set(expected)
    assert max(np.hypot(*(found[name] - expected[name])) for name in found) < 1.5 / min(unit, UNIT)


def glasses(u, v):
    return (np.abs(v) < 0.2) & (np.abs(u) < 0.85)


@pytest.mark.parametrize("angle", [0, 30])
def test_dark_glasses_take_the_eyes_away_and_nothing_else(drawn, angle):
    face = parse(draw(angle=angle, over=[("eye_g", glasses)], without=("r_eye", "l_eye")))
    for side in "rl":
        eye = face.landmarks[f"{side}_eye_inner"]
        assert (eye.xy, eye.visible, eye.confidence) == (None, False, 0.0)
    # The frame comes from brows, nose and lips now, which are not quite where they usually are.
    upright = places(plain_landmarks(drawn))
    found = places(plain_landmarks(face))
    for name in ("r_mouth_corner", "l_mouth_corner", "upper_lip_centre", "nose_base", "r_brow_peak"):
        assert np.hypot(*(found[name] - upright[name] @ rotation(angle))) < 0.04, name
        assert face.landmarks[name].visible


def test_hair_hides_what_it_covers():
    face = parse(draw(over=[("hair", lambda u, v: (u < -0.6) & (v < 0.1))]), confidence=0.8)
    brow = {name: landmark for name, landmark in face.landmarks.items() if name.startswith("r_brow")}
    assert [name for name, landmark in brow.items() if not landmark.visible] == ["r_brow_outer"]
    # Of five directions outwards none is free at the end, all are at the inner end.
    assert brow["r_brow_outer"].confidence == 0
    assert brow["r_brow_inner"].confidence == pytest.approx(0.8)
    # The plain point is where the brow ends in the picture, not a guess.
    assert places(plain_landmarks(face))["r_brow_outer"][0] == pytest.approx(-0.6, abs=0.015)
    assert not face.landmarks["r_eye_outer"].visible
    assert face.landmarks["l_brow_outer"].visible
    # An ear with nothing left of it is absent.
    absent = parse(draw(over=[("hair", lambda u, v: u < -1.1)]))
    assert absent.landmarks["r_ear_top"].xy is None
    assert absent.landmarks["l_ear_top"].visible


CLEAR = ("eye_g", lambda u, v: glasses(u, v) & ~lens(np.abs(u), v, (0.5, 0), 0.2, 0.09, 0.06))
HAND = ("background", lambda u, v: (u > 0.3) & (v > 0.8) & (v < 1.3))


@pytest.mark.parametrize(
    ("drawing", "hidden", "shown"),
    [
        ({"over": [CLEAR]}, [], ["r_eye_outer", "r_eye_inner", "l_eye_outer", "l_eye_inner"]),
        ({"over": [HAND]}, ["l_mouth_corner"], ["r_mouth_corner"]),
        ({"centre": (256, 340)}, ["chin"], ["r_mouth_corner"]),  # below the border
        ({"over": [("hair", lambda u, v: (u < -1.1) & (v < 0.1))]}, ["r_ear_top"], ["r_ear_lobe", "l_ear_top"]),
    ],
    ids=["clear glasses", "hand", "border", "hair over an ear"],
)
def test_what_is_covered_is_not_visible(drawing, hidden, shown):
    landmarks = parse(draw(**drawing)).landmarks
    assert all(landmarks[name].xy is not None and not landmarks[name].visible for name in hidden)
    assert all(landmarks[name].visible for name in shown)


def test_a_profile_shows_one_side():
    gone = ("l_eye", "l_brow", "l_ear")
    face = parse(draw(over=[("background", lambda u, v: u > 0.3)], without=gone))
    for name, landmark in face.landmarks.items():
        assert (landmark.xy is None) == name.startswith(gone), name
    assert places(plain_landmarks(face))["r_eye_outer"] == pytest.approx((-0.7, 0), abs=0.02)
    assert face.landmarks["r_eye_outer"].visible
    assert not face.landmarks["l_jaw_1"].visible


def test_an_open_mouth_has_two_inner_edges():
    found = places(plain_landmarks(parse(draw(over=[("mouth", lambda u, v: lens(u, v, (0, 1.05), 0.3, 0.05, 0.08))]))))
    for name, v in (("inner_upper_lip_centre", 1.0), ("inner_lower_lip_centre", 1.13), ("upper_lip_centre", 0.93)):
        assert found[name] == pytest.approx((0, v), abs=0.01)
    # A third of the way from the centre to the corner, on its own side.
    sides = [found[f"{side}_inner_{lip}_lip"][0] for side in "rl" for lip in ("upper", "lower")]
    assert sides == pytest.approx([-0.133, -0.133, 0.133, 0.133], abs=0.01)


def test_eyes_labelled_the_wrong_way_do_not_turn_the_face_over_or_shrink_it(drawn):
    swapped, halved = draw(), draw(without=("l_eye",))
    swapped[draw() == 5], swapped[draw() == 4] = 4, 5
    halved[(halved == 5) & (np.arange(512) > 512 / 2 - 0.5 * UNIT)] = 4  # the inner half of the right eye
    for mask, names, error in (
        (swapped, ("upper_lip_centre", "lower_lip_centre", "r_mouth_corner", "chin"), 0.02),
        (halved, ("r_mouth_corner", "l_mouth_corner", "nose_base"), 0.04),
    ):
        found, expected = places(parse(mask).landmarks), places(drawn.landmarks)
        for name in names:
            assert found[name] == pytest.approx(expected[name], abs=error)


def odd_masks():
    """Yield masks of one class, from a pixel to the whole picture, and of noise."""
    for class_id in range(1, 19):
        for inside in (np.s_[30, 30], np.s_[30, 10:50], np.s_[10:50, 30], np.s_[:, :], np.s_[40:, :7]):
            mask = np.zeros((64, 64), np.uint8)
            mask[inside] = class_id
            yield mask
    rng = np.random.default_rng(0)
    for _ in range(30):
        yield rng.integers(0, 19, (12, 12), dtype=np.uint8).repeat(8, 0).repeat(8, 1)


def test_what_hardly_shows_a_face_does_not_fail():
    empty = parse(np.zeros((64, 64), np.uint8)).landmarks
    assert list(empty) == list(NUMBERS)
    assert all(not landmark.visible and landmark.xy is None for landmark in empty.values())
    for mask in odd_masks():
        for landmark in parse(mask, min_area=0).landmarks.values():
            assert landmark.xy is None or np.isfinite(landmark.xy).all()
            assert 0 <= landmark.confidence <= 1


def test_confidence_is_the_least_of_the_attributes_read_off():
    confidence = dict.fromkeys(range(19), 0.9) | {4: 0.5, 11: 0.7, 12: 0.6}
    landmarks = parse(draw(), confidence).landmarks
    assert landmarks["l_eye_outer"].confidence == pytest.approx(0.5)
    assert landmarks["r_eye_outer"].confidence == pytest.approx(0.9)
    assert landmarks["upper_lip_centre"].confidence == pytest.approx(0.6)


def test_a_calibration_moves_both_sides_alike():
    calibration = Calibration({"eye": 0.4}, mirrored({"eye_outer": np.array([[0.01, 0.1, -0.2], [0.02, 0.0, 0.3]])}))
    # An eye a quarter wider than usual, the nose 0.1 to the image's right: on the right side 0.01 + 0.025 - 0.02 and
    # 0.02 + 0.03; seen in a mirror the left side's nose stands at -0.1: -(0.01 + 0.025 + 0.02) and 0.02 - 0.03.
    assert calibration.move("eye", ("r_eye_outer",), 0.5, 0.1)[0] == pytest.approx((0.015, 0.05))
    assert calibration.move("eye", ("l_eye_outer",), 0.5, 0.1)[0] == pytest.approx((-0.055, -0.01))
    # At three times the width it is taken for half as wide again, and no more.
    assert calibration.move("eye", ("r_eye_outer",), 1.2, 0.0)[0] == pytest.approx((0.06, 0.02))
    assert calibration.move("ear", ("r_ear_top",), 1.2, 0.0)[0] == pytest.approx((0, 0))


def test_the_shipped_calibration_has_every_numbered_landmark_and_keeps_the_middle_line():
    moves = load_calibration().moves
    assert set(moves) == {name for name, number in NUMBERS.items() if number is not None}
    for name, numbers in moves.items():
        if name[:2] not in ("r_", "l_"):
            assert numbers[0, 0] == numbers[0, 1] == numbers[1, 2] == 0, name


def test_a_fit_finds_what_was_planted_though_a_tenth_is_wrong():
    rng = np.random.default_rng(0)
    planted = np.array([[0.02, -0.1, 0.3], [0.01, 0.05, -0.2]])
    gaps = []
    for i, width in enumerate(rng.permutation(np.linspace(0.25, 0.55, 301))):
        turn = rng.uniform(-0.3, 0.3)
        du, dv = planted @ [1, width / 0.4 - 1, turn] + (1.0 if i % 10 == 0 else 0.0)
        gaps.append(Gap("eye", "eye_outer", width, turn, (du, dv), 1.4))
    widths, moves = fit(gaps)
    assert widths["eye"] == pytest.approx(0.4, abs=1e-4)
    assert moves["eye_outer"] == pytest.approx(planted, abs=5e-4)


def test_no_face_has_a_part_in_its_own_calibration():
    # Face 3 of ten is the only one to say 0.5, and by far the most often.
    said = [(0.5, 100) if i == 3 else (0.1, 1) for i in range(10)]
    calibrations = held_out([[Gap("eye", "eye_outer", 0.4, 0.0, (du, 0.0), 1.4)] * times for du, times in said])
    moved = [calibration.move("eye", ("r_eye_outer",), 0.4, 0.0)[0, 0] for calibration in calibrations]
    assert moved == pytest.approx([0.1 if i in (3, 8) else 0.5 for i in range(10)], abs=1e-3)


@pytest.mark.slow
def test_landmarks_of_real_masks_lie_as_near_to_dlib_as_the_detectors_to_one_another(real_root):
    folder = real_root.resolve().parent / "landmarks"
    if not (folder / DLIB).is_file():
        pytest.skip(f"no detectors' points: {folder} has no {DLIB}")
    detected = read_detected(str(real_root), str(folder))[::4]
    errors = measure(detected, true_faces(detected), [])
    mean = {key: np.nanmean(value[:, CORNERS], axis=0).mean() for key, value in errors.items()}
    assert mean["true"] <= GOAL
    assert mean["true"] < mean["plain"] - 0.4
    assert mean["true_mediapipe"] < mean["plain_mediapipe"] - 0.4

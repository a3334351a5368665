"""Faces anywhere in a photo: crops by hand, and drawn faces found, parsed by their labels and put back."""

import json
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import product

import cv2
import numpy as np
import pytest
from conftest import PORTRAIT
from PIL import Image

from benchmarks.samples import LabelParser, Labels
from facekp import FaceParser
from facekp.classes import CELEBAMASK_HQ
from facekp.data.synthetic.write import draw_face
from facekp.errors import ConfigError
from facekp.images import read_image
from facekp.keypoints.score_grid import ScoreGrid
from facekp.parsing.alignment import PLACES, distinct, find_part, fit_crop, refine
from facekp.parsing.detectors import BOX_MIDDLE, BOX_SIDE, HaarDetector, YuNetDetector, open_detector
from facekp.parsing.face_crop import Crop, cut, within
from facekp.parsing.scenes import suppress_neighbours
from facekp.parsing.surroundings import FAR, around, drop_strays, is_cut, join
from facekp.predict.pipeline import list_jobs, parse_files
from facekp.predict.results import Results

SKIN, NOSE, L_EYE, R_EYE, U_LIP, HAIR, CLOTH = map(
    CELEBAMASK_HQ.index, ("skin", "nose", "l_eye", "r_eye", "u_lip", "hair", "cloth")
)


def near(crop, frame, within=0.05):
    return crop.distance_to(frame) < within


def test_matrix_box_and_distance():
    # A square of 8 pixels at (10, 20), seen at 4 x 4: a pixel is 2 wide, the first one's centre is (11, 21) from the
    # photo's corner, so (10.5, 20.5) where the centre of the first pixel is (0, 0).
    np.testing.assert_allclose(Crop(10 + 20j, 8).matrix(4), [[2, 0, 10.5], [0, 2, 20.5]])
    # Turned by a quarter, clockwise as seen: one pixel to the right in it is two pixels down in the photo.
    np.testing.assert_allclose(Crop(10 + 20j, 8j).matrix(4), [[0, -2, 8.5], [2, 0, 20.5]])
    crop = Crop.around(50 + 40j, 20)
    assert (crop.origin, crop.box((100, 55))) == (40 + 30j, (40, 30, 55, 50))  # the photo ends at 55
    half = 200**0.5
    want = 50 - half, 40 - half, 50 + half, 40 + half
    assert Crop.around(50 + 40j, 20 * np.exp(1j * np.pi / 4)).box((100, 100)) == pytest.approx(want)
    assert crop.distance_to(Crop(43 + 34j, 20)) == pytest.approx(5 / 20)  # all corners move by 3 and 4
    assert Crop.central((60, 100)) == Crop(20, 60)


@pytest.mark.parametrize("turn", [1, 1j, -1, -1j])
def test_cut_takes_the_pixels_themselves_where_nothing_is_enlarged(turn):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    crop = Crop.around(30 + 22j, 16 * turn)
    quarters = {1: 0, 1j: 1, -1: 2, -1j: 3}[turn]
    np.testing.assert_array_equal(cut(image, crop, 16), np.rot90(image[14:30, 22:38], quarters))


def test_cut_averages_what_shrinks():
    # Columns of 0 and 255 by turns: at an eighth of the size every pixel is their mean, whatever the turn.
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, ::2] = 255
    for angle in (0, 0.4):
        small = cut(image, Crop.around(200 + 200j, 240 * np.exp(1j * angle)), 30)
        np.testing.assert_allclose(small, 127.5, atol=2)


def test_beyond_the_border_the_photo_is_mirrored_and_known_to_be_beyond():
    image = np.arange(20, dtype=np.uint8)[None, :, None].repeat(20, 0).repeat(3, 2)
    crop = Crop(-4 + 0j, 16)
    assert cut(image, crop, 16)[0, :8, 0].tolist() == [4, 3, 2, 1, 0, 1, 2, 3]
    np.testing.assert_array_equal(within(crop, 16, (20, 20)), np.tile(np.arange(16) >= 4, (16, 1)))


def test_residual_is_the_distance_in_sides():
    points = {name: Crop(0, 100).at(place) for name, place in PLACES.items() if name != "eye_g"}
    _, residual = fit_crop(points | {"nose": points["nose"] + 10j})
    # The frame gives way a little: 0.1 / 2 is what is left with three others fixed at their mean.
    assert 0.03 < residual < 0.05


def face_mask(**moved):
    """Return a mask of 200 x 200 with a disc at each part's place, moved by so much of the side."""
    mask = np.full((200, 200), SKIN, np.uint8)
    for name, class_id in (("l_eye", L_EYE), ("r_eye", R_EYE), ("nose", NOSE), ("mouth", U_LIP)):
        place = (PLACES[name] + moved.get(name, 0)) * 200
        cv2.circle(mask, (round(place.real - 0.5), round(place.imag - 0.5)), 8, class_id, cv2.FILLED)
    return mask


def test_parts_are_located_and_the_nearest_of_several_is_taken():
    mask = face_mask()
    assert find_part(mask, "nose") == pytest.approx(PLACES["nose"], abs=0.003)
    cv2.circle(mask, (20, 20), 8, NOSE, cv2.FILLED)  # a neighbour's
    assert find_part(mask, "nose") == pytest.approx(PLACES["nose"], abs=0.003)
    assert find_part(mask, "eye_g") is None
    mask[0, 0] = CELEBAMASK_HQ.index("eye_g")  # a pixel is no part
    assert find_part(mask, "eye_g") is None


def test_refining_moves_the_frame_to_the_face():
    crop = Crop.around(500 + 400j, 200 * np.exp(0.3j))
    assert near(refine(crop, face_mask()), crop, 0.02)  # the discs' middles are rounded to pixels
    # Everything lies a tenth of the side further right in it.
    shifted = face_mask(l_eye=0.1, r_eye=0.1, nose=0.1, mouth=0.1)
    assert near(refine(crop, shifted), Crop(crop.at(0.1), crop.edge), 0.02)


def relabelled(mask, ids, new):
    return np.where(np.isin(mask, ids), np.uint8(new), mask)


def test_what_is_no_face():
    crop = Crop(0, 200)
    for mask in (
        np.zeros((200, 200), np.uint8),
        relabelled(face_mask(), SKIN, 0),  # parts without skin
        face_mask(mouth=-0.5j),  # a mouth above the eyes
        cv2.rotate(face_mask(), cv2.ROTATE_180),
        relabelled(face_mask(), (L_EYE, R_EYE, U_LIP), SKIN),
    ):
        assert refine(crop, mask) is None
    assert refine(crop, relabelled(face_mask(), (L_EYE, R_EYE), SKIN)) == crop  # hair over the eyes


def test_a_crop_that_fits_is_kept_while_an_eye_is_hidden():
    crop, middle = Crop(0, 200), 0.5 + 0.5j
    for turn, fits in ((0.9 * np.exp(0.2j), True), (0.8 * np.exp(0.7j), False), (0.56 * np.exp(-0.8j), False)):
        mask = face_mask(**{name: (place - middle) * (turn - 1) for name, place in PLACES.items()})
        aligned, profile = Crop.around(crop.middle, 200 * turn), relabelled(mask, L_EYE, SKIN)
        assert near(refine(crop, mask), aligned, 0.03)
        assert near(refine(crop, profile), crop if fits else aligned, 0.03)
        assert refine(crop, relabelled(profile, R_EYE, SKIN)) == (crop if fits else None)


def test_one_of_each_face_is_kept():
    first, again, beside, larger = (Crop.around(m, e) for m, e in ((100, 100), (110, 90), (150, 100), (100, 300)))
    assert distinct([first, again, beside, larger]) == [first, beside, larger]


@pytest.mark.parametrize(("count", "beyond"), [(129, 0), (66, 0.5)])
def test_background_wins_nearer_to_another_face(count, beyond):
    points = np.zeros((count, count, 19), np.float32)
    points[..., SKIN] = 10
    grid = ScoreGrid(points, beyond)
    at = (np.arange(count) - beyond) / (count - 1 - 2 * beyond)  # 0 and 1 at the crop's borders
    own, other = Crop(0, 100), Crop(60, 100)  # the line between them is x = 80 of 100
    suppressed = suppress_neighbours(grid, own, own, [other])
    assert suppressed.beyond == beyond
    np.testing.assert_array_equal(suppressed.points.argmax(2), np.tile(np.where(at < 0.8, SKIN, 0), (count, 1)))
    assert (points.argmax(2) == SKIN).all()
    # Half as large and its middle 50 away: nearer where d(other) < d(own) / 2, a disc around it
    small = Crop.around(50 + 100j, 50)
    winner = suppress_neighbours(grid, own, own, [small]).points.argmax(2)
    x, y = 100 * at, 100 * at[:, None]
    disc = np.hypot(x - 50, y - 100) < np.hypot(x - 50, y - 50) / 2
    np.testing.assert_array_equal(winner, np.where(disc, 0, SKIN))


@cache
def drawn(seed):
    face = draw_face(seed)
    label = np.zeros(face.image.shape[:2], np.uint8)
    for name, mask in face.masks.items():
        label[mask] = CELEBAMASK_HQ.index(name)
    return face.image, label


def paste(size, *faces):
    """Return a photo of `size` (H, W) with drawn faces, each a seed and a frame, and its label."""
    height, width = size
    ramp = np.linspace(60, 200, width).astype(np.uint8)
    photo, label = np.broadcast_to(ramp[:, None], (height, width, 3)).copy(), np.zeros(size, np.uint8)
    for seed, frame in faces:
        face, own = drawn(seed)
        pixels = min(512, round(frame.side))
        small = cv2.resize(face, (pixels, pixels), interpolation=cv2.INTER_AREA)
        turned = cv2.warpAffine(small, frame.matrix(pixels), (width, height), borderMode=cv2.BORDER_REFLECT_101)
        inside = put_back(np.ones_like(own), frame, size) == 1
        photo[inside], label[inside] = turned[inside], put_back(own, frame, size)[inside]
    return photo, label


def put_back(mask, frame, size):
    return cv2.warpAffine(mask, frame.matrix(len(mask)), size[::-1], flags=cv2.INTER_NEAREST)


def mean_iou(truth, guess):
    classes = np.union1d(truth, guess)[1:]
    return np.mean([((truth == i) & (guess == i)).sum() / ((truth == i) | (guess == i)).sum() for i in classes])


def parser_of(label, detector="haar"):
    parser = LabelParser(detector)
    parser.stages.label = label
    return parser


def parse(photo, label, align="auto", detector="haar"):
    return parser_of(label, detector)(photo, align=align)


@cache
def framed(seed):
    """Return the parse of a drawn face, framed as it is."""
    return parse(*drawn(seed), "none")[0]


def framed_iou(seed, frame, label):
    """Return the IoU of that parse in the photo that the face is put into."""
    return mean_iou(label, put_back(framed(seed).mask, frame, label.shape))


def turned(middle, side, degrees):
    return Crop.around(middle, side * np.exp(1j * np.radians(degrees)))


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((600, 900), turned(300 + 250j, 120, 0)),
        ((600, 900), turned(500 + 300j, 300, 30)),
        ((600, 900), turned(400 + 300j, 300, -30)),
        ((2000, 2200), turned(1050 + 975j, 1900, 12)),
    ],
)
def test_a_face_is_found_and_parsed_nearly_as_if_it_were_framed(size, frame):
    photo, label = paste(size, (0, frame))
    (face,) = parse(photo, label)
    assert face.mask.shape == size
    assert mean_iou(label, face.mask) >= 0.9 * framed_iou(0, frame, label)
    # The same point of the nose, from its upright frame: key points turn with the face.
    matrix = frame.matrix(512)
    want = framed(0).keypoints["nose"] @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(face.keypoints["nose"], want, atol=0.02 * frame.side)
    assert face.attributes["nose"].area == np.count_nonzero(face.mask == NOSE)
    # Its outline lies where its mask does.
    outline = face.attributes["nose"].contours[0].points
    rows, columns = np.nonzero(face.mask == NOSE)
    np.testing.assert_allclose(outline.min(0), [columns.min() - 0.5, rows.min() - 0.5], atol=1)
    np.testing.assert_allclose(outline.max(0), [columns.max() + 0.5, rows.max() + 0.5], atol=1)
    assert face.attributes["nose"].contours[0].area == pytest.approx(face.attributes["nose"].area, rel=0.05)


@pytest.mark.slow
def test_several_faces_come_largest_first_and_keep_to_themselves():
    frames = [turned(180 + 200j, 200, 20), turned(640 + 300j, 420, -10), turned(395 + 420j, 230, 0)]
    photo, label = paste((600, 900), *enumerate(frames))
    faces = parse(photo, label)
    assert len(faces) == 3
    for face, number in zip(faces, (1, 2, 0), strict=True):
        frame = frames[number]
        eye = face.keypoints["l_eye"].astype(float) @ (1, 1j)
        assert abs(eye.mean() - frame.at(PLACES["l_eye"])) < 0.06 * frame.side
        assert face.box[0] < frame.middle.real < face.box[2]
        # Nothing of another's middle is this one's.
        for other in (frames[i] for i in range(3) if i != number):
            assert face.mask[round(other.middle.imag), round(other.middle.real)] == 0


@pytest.mark.slow
def test_a_face_that_the_border_cuts():
    frame = turned(100 + 240j, 320, 8)  # a fifth of it lies beyond
    photo, label = paste((500, 700), (5, frame))
    (face,) = parse(photo, label)
    assert mean_iou(label, face.mask) >= 0.9 * framed_iou(5, frame, label)
    assert face.box[0] == 0
    points = np.concatenate([c.points for a in face.attributes.values() for c in a.contours])
    assert points.min() >= -0.5
    assert face.attributes["hair"].contours[0].cut.any()
    assert (face.keypoints["hair"][:, 0] > 0.5).mean() > 0.9


@pytest.mark.parametrize("method", ["canny", "contour"])
def test_a_photo_framed_as_in_celeba_hq_is_taken_as_it_is(method):
    image, label = drawn(0)
    parser = parser_of(label)
    parser.stages.keypoints.method = method
    (aligned,), (whole,) = parser(image), parser(image, align="none")
    np.testing.assert_array_equal(aligned.mask, whole.mask)
    assert aligned.to_dict() == whole.to_dict()


@pytest.mark.parametrize("size", [(32, 32), (33, 400), (300, 300)])
def test_no_face_is_an_empty_list(size):
    photo, label = paste(size)
    assert parse(photo, label) == []
    # Boxes without a face in them are dropped.
    assert parse(photo, label, detector=lambda image: [Crop(2 + 3j, 20), Crop(0, 500)]) == []


@pytest.mark.slow
def test_files_hold_what_the_parser_returns_and_photos_without_faces_are_reported(tmp_path, capsys):
    photo, label = paste((300, 500), (0, turned(130 + 150j, 180, 15)), (1, turned(380 + 150j, 160, 0)))
    parser = parser_of(label)
    want = [face.to_dict() for face in parser(photo)]
    assert len(want) == 2
    Image.fromarray(photo).save(tmp_path / "two.png")
    jobs = list_jobs([tmp_path / "two.png"], tmp_path / "out")
    assert parse_files(parser, jobs, Results(tmp_path / "out", ["json"]), "auto") == []
    assert json.loads((tmp_path / "out" / "two.json").read_text())["faces"] == json.loads(json.dumps(want))
    parser.stages.label = np.zeros_like(label)
    assert parse_files(parser, jobs, Results(tmp_path / "out", ["json"]), "auto") == []
    assert f"no face: {tmp_path / 'two.png'}" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "two.json").read_text())["faces"] == []


@pytest.mark.slow
def test_faces_of_videos_are_followed(tmp_path):
    pytest.importorskip("av")
    from facekp.predict.video_io import VideoWriter
    from facekp.predict.videos import parse_videos

    photo, label = paste((240, 400), (0, turned(110 + 120j, 150, 15)), (1, turned(300 + 120j, 130, 0)))
    with VideoWriter(tmp_path / "clip.mp4", Fraction(25)) as clip:
        for number in range(2):
            clip.write(photo, number / 25)
    jobs = list_jobs([tmp_path / "clip.mp4"], tmp_path)
    assert parse_videos(parser_of(label), jobs, None, "auto", overlay=False) == []
    frames = [json.loads(line) for line in (tmp_path / "clip.jsonl").read_text().splitlines()]
    assert [[face["track"] for face in frame["faces"]] for frame in frames] == [[0, 1]] * 2
    assert all(frame["faces"][0]["box"][0] < 110 < frame["faces"][0]["box"][2] for frame in frames)


class Counting(Labels):
    """Labels that note their calls and the images' sides, and see nothing from the call `blind` on."""

    batch = 2

    def __init__(self, blind=99):
        self.blind, self.calls, self.sides = blind, [], Counter()

    def __call__(self, images):
        self.calls.append(len(images))
        self.sides.update(image.shape[0] for image in images)
        return super().__call__(images if len(self.calls) <= self.blind else np.zeros_like(images))


def test_the_network_sees_only_what_may_be_a_face_and_each_once():
    photo, label = paste((500, 600), (0, turned(300 + 250j, 280, 20)))
    parser = parser_of(label, lambda image: [Crop.around(290 + 250j, 300), Crop(0, 40), Crop(500, 40)])
    parser.stages.backend = Counting()
    # Three boxes, two at a time, the middle of the photo being that of the first; then the one face, framed anew,
    # and its surroundings.
    assert (len(parser(photo)), parser.stages.backend.calls) == (1, [2, 1, 1, 1])
    # What is a face only at the first look is none.
    parser.stages.backend = Counting(blind=2)
    assert (parser(photo), parser.stages.backend.calls) == ([], [2, 1, 1])


def test_small_faces_are_not_enlarged_to_the_networks_full_size():
    small, large = turned(130 + 200j, 80, 0), turned(520 + 350j, 300, 0)
    photo, label = paste((700, 800), (0, small), (1, large))
    parser = parser_of(label, lambda _: [small, large])
    parser.stages.backend = Counting()
    assert len(parser(photo)) == 2
    # 80 pixels are less than 16 % of 512: 384, as proposed and as aligned. Both crops of the larger face and the
    # middle of the photo are seen at 512, the larger crops around both faces, 160 and 600 pixels, at 7/8 of that.
    assert parser.stages.backend.sides == {384: 2, 448: 2, 512: 3}


@pytest.mark.slow
def test_several_photos_give_a_list_each_and_share_the_networks_calls():
    photo, label = paste((500, 600), (0, turned(300 + 250j, 280, 20)))
    crops = iter([[Crop.around(290 + 250j, 300)], [Crop.around(310 + 240j, 300)], []])
    parser = parser_of(label, lambda _: next(crops, []))
    parser.stages.backend = Counting()
    first, second = parser([photo, photo])
    assert [len(first), len(second)] == [1, 1]
    assert parser.stages.backend.calls == [2, 2, 2]  # both as proposed, as aligned, and with their surroundings
    assert mean_iou(first[0].mask, second[0].mask) > 0.9
    parser.stages.label = np.zeros_like(label)
    assert parser(np.stack([photo, photo])) == [[], []]
    assert parser([photo]) == [[]]
    assert parser(photo) == parser([]) == []


OWN = Crop(24 + 24j, 64)
LARGER = around(OWN, (112, 112))  # the whole photo


def grids(fine, wide):
    """Return grids of 65 points a side of an aligned crop and of the one around it; skin is in the middle."""
    both = np.zeros((2, 65, 65, 19), np.float32)
    both[..., 0] = 1
    both[0, 28:37, 28:37, SKIN] = 9
    for points, parts in zip(both, (fine, wide), strict=True):
        for place, class_id, score in parts:
            points[(*place, class_id)] = score
    return [ScoreGrid(points, 0) for points in both]


def test_the_larger_crop_shows_the_photo_as_far_as_a_person_may_reach():
    # In a large photo: 0.375 of the side above, 0.625 below, and half at the sides; it turns with the face.
    assert around(Crop(1000 + 1000j, 64), (4000, 4000)) == Crop(1000 + 1000j - 64 * (0.5 + 0.375j), 128)
    assert around(Crop(1000 + 1000j, 64j), (4000, 4000)) == Crop(1000 + 1000j - 64j * (0.5 + 0.375j), 128j)
    # As far as the photo goes: 0.25 on each side here; and if it goes on to the right, half to both sides.
    assert around(Crop(16 + 16j, 64), (96, 96)) == Crop(0, 96)
    assert around(Crop(16 + 16j, 64), (96, 144)) == Crop(-16, 128)
    # In eighths: what would be 0.3 is 0.375.
    assert around(Crop(30 + 30j, 100), (160, 160)) == Crop(-7.5 - 7.5j, 175)
    # And at least an eighth.
    assert around(Crop(0, 64), (64, 64)) == Crop(-8 - 8j, 80)
    # The far one: 0.75 + 1 + 2 of the side down, so as much across.
    assert around(Crop(1000 + 1000j, 64), (4000, 4000), FAR) == Crop(1000 + 1000j - 64 * (1.375 + 0.75j), 240)
    # It holds the first one, which ends 0.625 of the side below here, beyond the photo; 0.5 above, so 1.125 across.
    first = around(Crop(32 + 32j, 64), (104, 128))
    assert first == Crop(8j, 128)
    assert around(Crop(32 + 32j, 64), (104, 128), FAR, first) == Crop(-8, 144)


def test_where_a_far_crop_is_in_doubt_the_background_wins():
    # 5 against the background's 1, in the lower half and so in the rows below the aligned crop, which ends at 88.
    fine, wide = grids([], [(np.s_[32:, :], CLOTH, 5)])
    for doubt, won in ((0, True), (3.9, True), (4.1, False)):
        joined = join(fine, wide, OWN, LARGER, doubt=doubt)
        assert ((joined.points[90:].argmax(2) == CLOTH) == won).all()
    np.testing.assert_array_equal(joined.points[30:83, 30:83], fine.points[6:-6, 6:-6])


def test_what_the_larger_crops_edge_cuts_goes_on_but_not_at_the_photos_border():
    last, inner, everywhere = slice(64, 65), slice(1, 64), slice(None)
    for place, class_id, wanted in (
        ((last, everywhere), CLOTH, True),
        ((everywhere, last), HAIR, True),
        ((last, everywhere), SKIN, False),
        ((inner, inner), CLOTH, False),
    ):
        _, wide = grids([], [(place, class_id, 5)])
        assert is_cut(wide, Crop(50 + 50j, 100), (400, 400)) == wanted
        assert not is_cut(wide, Crop(0, 100), (100, 100))


def winners(crop, grid, *wider):
    """Return the winners on the grid of an aligned crop joined with those of larger ones, without strays."""
    part = crop
    for larger, wide in wider:
        grid, part = join(grid, wide, part, larger), larger
    drop_strays(grid, crop, part)
    return grid.points.argmax(2)


def test_what_reaches_beyond_the_aligned_crop_goes_on_and_nothing_else_does():
    # A column of hair runs through both: 13 of 64 cells, and 8 of 64 cells that are 1.75 times as large.
    neck, wider = CELEBAMASK_HQ.index("neck"), slice(28, 37)
    fine, wide = grids(
        [(np.s_[:, 26:39], HAIR, 5)],
        [
            (np.s_[:, wider], HAIR, 5),
            (np.s_[60:, 50:], CLOTH, 5),  # another person's
            (np.s_[:5, wider], neck, 6),  # a neck above the hair, which is another's too
            (np.s_[6:10, wider], NOSE, 9),  # of the face, but beyond it
        ],
    )
    winner = winners(OWN, fine, (LARGER, wide))
    assert winner.shape == (113, 113)  # 64 cells and 24 on both sides
    np.testing.assert_array_equal(winner[30:83, 30:83], fine.points.argmax(2)[6:-6, 6:-6])  # 5 cells are blended
    assert (winner[[*range(24), *range(89, 113)], 56] == HAIR).all()
    assert not np.isin(winner, (CLOTH, neck, NOSE)).any()
    # Clothes that the hair leads to are the face's.
    wide.points[60:65, 34:65, CLOTH] = 6
    assert (winners(OWN, fine, (LARGER, wide))[108:, 70:] == CLOTH).all()
    # In a far crop, a neck beyond the aligned crop is another's too, whichever of the larger crops shows it.
    _, far = grids([], [(np.s_[15:17, 30:33], neck, 6)])
    assert not np.isin(winners(OWN, fine, (LARGER, wide), (Crop(-40 - 40j, 192), far)), neck).any()


def test_both_looks_meet_without_a_step():
    # The aligned crop sees hair by 4 more than background, the larger one by 2: between them the lead falls evenly.
    fine, wide = grids([(np.s_[:, :], HAIR, 5)], [(np.s_[:, :], HAIR, 3)])
    joined = join(fine, wide, OWN, LARGER).points
    lead = (joined[..., HAIR] - joined[..., 0])[56]
    assert lead[[0, 24, 56 - 20]].tolist() == [2, 2, 4]  # 24: the edge of the aligned crop
    assert abs(np.diff(lead)).max() < 0.4  # 2 over 0.08 of 64 cells


def test_single_maps_are_joined_where_they_lie():
    # Their points are the centres of 64 pixels a side and one more beyond each border. Every point's score is its own
    # place in the photo, across and down, which interpolation keeps: so the joined points show where they were put.
    places = []
    for crop in (OWN, LARGER):
        across = crop.origin.real + crop.side * (np.arange(66) - 0.5) / 64
        points = np.zeros((66, 66, 19), np.float32)
        points[..., 0], points[..., SKIN] = across, across[:, None]
        points[[0, -1]], points[:, [0, -1]] = points[[1, -2]], points[:, [1, -2]]  # replicated, as upsampling does
        places.append(ScoreGrid(points, 0.5))
    joined = join(*places, OWN, LARGER)
    assert (joined.points.shape, joined.cells, joined.beyond) == ((114, 114, 19), (112, 112), 0.5)
    wanted = np.arange(114) - 0.5
    inner = slice(2, -2)  # not what is replicated
    np.testing.assert_allclose(joined.points[inner, inner, 0], np.broadcast_to(wanted[inner], (110, 110)), atol=1e-4)
    np.testing.assert_allclose(joined.points[25:-25, 40, SKIN], wanted[25:-25], atol=1e-4)


def test_a_head_larger_than_the_aligned_crop_is_parsed_as_a_whole():
    # Its hair is a column through the photo; with the aligned crop alone it would end above and below.
    frame = turned(300 + 300j, 200, 0)
    photo, label = paste((600, 600), (0, frame))
    label[20:210, 280:320] = HAIR  # from the frame's upper part to 180 pixels above it
    (face,) = parse(photo, label, detector=lambda _: [frame])
    assert face.box == pytest.approx((200, 200, 400, 400), abs=8)  # the aligned crop's
    _, y0, _, y1 = face.box
    top = y0 - 0.75 * (y1 - y0)  # where the far crop ends
    assert np.nonzero(face.mask[:, 300] == HAIR)[0].min() == pytest.approx(top, abs=6)
    hair = face.attributes["hair"].contours[0]
    assert hair.points[hair.cut][:, 1].max() < top + 6


@pytest.mark.slow
def test_clothes_are_followed_as_far_as_a_still_larger_crop():
    frame = turned(300 + 150j, 120, 0)  # its larger crop ends at about y = 285, the far one at 450
    photo, label = paste((700, 600), (0, frame))
    for end, calls in ((265, [2, 1, 1]), (700, [2, 1, 1, 1])):
        label[200:] = 0
        label[200:end, 230:370] = CLOTH
        parser = parser_of(label, lambda _: [frame])
        parser.stages.backend = Counting()
        (face,) = parser(photo)
        assert parser.stages.backend.calls == calls
        _, y0, _, y1 = face.box
        seen = min(end, y1 + 2 * (y1 - y0))
        assert np.nonzero(face.mask == CLOTH)[0].max() == pytest.approx(seen, abs=6)
        assert face.attributes["cloth"].contours[0].cut.any() == (seen < end)


def test_a_box_is_put_into_the_frame_of_a_face(monkeypatch):
    # The cascade is told to see one box of the turned copy; the crop must hold the box's middle and side.
    seen = []

    class Cascade:
        def detectMultiScale3(self, picture, *_, **__):  # noqa: N802  # OpenCV's name
            seen.append(picture.shape)
            return [(100, 60, 50, 50)], [3], [1.0]

    monkeypatch.setattr("facekp.parsing.detectors._opened_here", lambda *_: Cascade())
    # A photo of 480 x 960, not shrunk for the upright look, halved for both turned ones.
    crops = HaarDetector()(np.zeros((480, 960, 3), np.uint8))
    upright = next(crop for crop in crops if abs(crop.edge.imag) < 1e-9)
    assert upright.side == pytest.approx(50 / BOX_SIDE)
    assert upright.at(BOX_MIDDLE) == pytest.approx(125 + 85j)
    # Turned: 480 x 240 by 30 degrees needs 480 cos + 240 sin = 535.7 by 480 sin + 240 cos = 447.8 pixels.
    assert seen == [(480, 960), (448, 536), (448, 536)]
    for crop in (crop for crop in crops if crop is not upright):
        angle = np.angle(crop.edge)
        assert abs(np.degrees(angle)) == pytest.approx(30)
        assert crop.side == pytest.approx(2 * 50 / BOX_SIDE)
        # From the copy's middle, turned, to the photo's: (240, 120) + (125 - 267.85, 85 - 223.9) e^ia, doubled.
        want = 2 * (240 + 120j + (125 - 267.85 + (85 - 223.9) * 1j) * np.exp(1j * angle))
        assert abs(crop.at(BOX_MIDDLE) - want) < 1


def save_network(path, shapes, nodes, values=()):
    """Write an ONNX file with the input `input` (1, 3, 320, 320) and outputs of these shapes."""
    onnx = pytest.importorskip("onnx")
    floats = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(n, floats, s) for n, s in {"input": (1, 3, 320, 320), **shapes}.items()]
    nodes = [onnx.helper.make_node(kind, inputs, [name], **others) for kind, inputs, name, others in nodes]
    values = [onnx.numpy_helper.from_array(value, name) for name, value in values]
    graph = onnx.helper.make_graph(nodes, "made", ends[:1], ends[1:], values)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)]), path)


def test_detectors_that_cannot_be_opened_are_named(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    save_network(tmp_path / "same.onnx", {"same": (1, 3, 320, 320)}, [("Identity", ["input"], "same", {})])
    for name, reason in (("none", "is not a file"), ("bad", "OpenCV cannot load"), ("same", "is not a YuNet network")):
        said = f"detector is '.*{name}.onnx', which {reason}: give auto, centerface, haar, or OpenCV's"
        with pytest.raises(ConfigError, match=said):
            open_detector(str(tmp_path / f"{name}.onnx"))


def test_yunets_points_are_read_in_their_order(tmp_path, monkeypatch):
    """A network of YuNet's outputs that sees, whatever the picture, one face at one cell of stride 16."""
    side, (row, column) = 320, (9, 10)
    frame = turned(336 + 316j, 280, 10)  # in the photo, which is twice as large
    places = [frame.at(PLACES[n]) / 2 for n in ("r_eye", "l_eye", "nose")] + [frame.at(PLACES["mouth"]) / 2] * 2
    outputs = {}
    for stride, (name, width) in product((8, 16, 32), {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}.items()):
        outputs[f"{name}_{stride}"] = np.zeros((1, (side // stride) ** 2, width), np.float32)
    cell = row * (side // 16) + column
    outputs["cls_16"][0, cell] = outputs["obj_16"][0, cell] = 0.9
    outputs["bbox_16"][0, cell] = 0, 0, np.log(5), np.log(5)
    # OpenCV: point = (offset + cell) * stride
    outputs["kps_16"][0, cell] = [v for p in places for v in (p.real / 16 - column, p.imag / 16 - row)]
    nodes = [("ReduceSum", ["input"], "sum", {"keepdims": 0}), ("Mul", ["sum", "zero"], "nothing", {})]
    nodes += [("Add", [f"{name}_value", "nothing"], name, {}) for name in outputs]
    values = [(f"{name}_value", value) for name, value in outputs.items()] + [("zero", np.zeros((), np.float32))]
    save_network(tmp_path / "yunet.onnx", {name: value.shape for name, value in outputs.items()}, nodes, values)
    detector = YuNetDetector(tmp_path / "yunet.onnx")
    # The photo is looked at in half its size only where it is larger than that; so the longest side is lowered.
    monkeypatch.setattr("facekp.parsing.detectors.YUNET_MAX_SIDE", side)
    (crop,) = detector(np.zeros((2 * side, 2 * side, 3), np.uint8))
    assert near(crop, frame, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "angle"), [(0.6, 20.0), (1.5, -30.0)])
def test_the_shipped_network_parses_a_turned_and_scaled_portrait_as_it_parses_the_portrait(scale, angle):
    portrait, parser = read_image(PORTRAIT), FaceParser()
    (straight,), size = parser(portrait), len(portrait)
    frame = Crop.around(620 + 500j, size * scale * np.exp(1j * np.radians(angle)))
    around = np.random.default_rng(4).integers(0, 256, (1000, 1240, 3), np.uint8)
    picture = cv2.warpAffine(portrait, frame.matrix(size), (1240, 1000), dst=around, borderMode=cv2.BORDER_TRANSPARENT)
    (found,) = parser(picture)
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST
    back = cv2.warpAffine(found.mask, frame.matrix(size), (size, size), flags=flags)
    for name in ("skin", "nose", "hair", "neck"):  # lips are three pixels high at 0.6: their corners are below
        own, other = (mask == CELEBAMASK_HQ.index(name) for mask in (straight.mask, back))
        assert (own & other).sum() >= 0.8 * (own | other).sum(), name
    corners = [mark for mark in straight.landmarks if mark.endswith("eye_outer") or mark.endswith("mouth_corner")]
    width = np.ptp(straight.keypoints["skin"][:, 0])
    for name in corners:
        x, y = frame.matrix(size) @ [*straight.landmarks[name].xy, 1]
        assert np.hypot(*(found.landmarks[name].xy - (x, y))) < 0.03 * width * scale, name


def test_an_opencv_without_cascades_is_named_when_they_are_needed(monkeypatch):
    monkeypatch.delattr(cv2, "data")
    monkeypatch.setattr("facekp.images.CASCADES", ())
    with pytest.raises(ConfigError, match=r"has no haarcascade_frontalface_default\.xml: install "):
        open_detector("haar")

"""Faces anywhere in a photo: crops by hand, and drawn faces found, parsed by their labels and put back."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.labels import LabelParser
from facekp import FaceParser
from facekp.align import PLACES, distinct, fit, locate, refine
from facekp.attributes import ATTRIBUTES
from facekp.contours import trace
from facekp.crops import Crop, cut, within
from facekp.data.layout import read_index
from facekp.data.synthetic import draw_face
from facekp.detect import BOX_MIDDLE, BOX_SIDE, HaarDetector, YuNetDetector, open_detector
from facekp.errors import ConfigError
from facekp.images import read_image, read_label
from facekp.pipeline import list_jobs, parse_files
from facekp.placing import give_way
from facekp.results import Results

SKIN, NOSE, L_EYE, R_EYE, U_LIP = (ATTRIBUTES.index(name) for name in ("skin", "nose", "l_eye", "r_eye", "u_lip"))


def near(crop, frame, within=0.05):
    return crop.away(frame) < within


# Crops


def test_matrix_takes_the_centres_of_pixels_to_the_photo():
    # A square of 8 pixels at (10, 20), seen at 4 x 4: a pixel is 2 wide, the first one's centre is (11, 21) from the
    # photo's corner, so (10.5, 20.5) where the centre of the first pixel is (0, 0).
    np.testing.assert_allclose(Crop(10 + 20j, 8).matrix(4), [[2, 0, 10.5], [0, 2, 20.5]])
    # Turned by a quarter, clockwise as seen: one pixel to the right in it is two pixels down in the photo.
    np.testing.assert_allclose(Crop(10 + 20j, 8j).matrix(4), [[0, -2, 8.5], [2, 0, 20.5]])


def test_box_and_distance():
    crop = Crop.around(50 + 40j, 20)
    assert crop.origin == 40 + 30j
    assert crop.box((100, 55)) == (40, 30, 55, 50)  # the photo ends at 55
    assert Crop.around(50 + 40j, 20 * np.exp(1j * np.pi / 4)).box((100, 100)) == pytest.approx(
        (50 - 200**0.5, 40 - 200**0.5, 50 + 200**0.5, 40 + 200**0.5)
    )
    assert crop.away(Crop(43 + 34j, 20)) == pytest.approx(5 / 20)  # all corners move by 3 and 4
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
    inside = within(crop, 16, (20, 20))
    assert inside[:, 4:].all()
    assert not inside[:, :4].any()


# Frames


@pytest.mark.parametrize("edge", [300 + 0j, 20 * np.exp(0.5j), 4000 * np.exp(-0.7j)])
def test_fit_finds_the_frame_that_faces_were_put_in(edge):
    frame = Crop(123 - 45j, edge)
    crop, residual = fit({name: frame.at(PLACES[name]) for name in ("l_eye", "r_eye", "nose", "mouth")})
    assert near(crop, frame, 1e-9)
    assert residual < 1e-9


def test_residual_is_the_distance_in_sides():
    # Between two points a square fits always. Of four at (+-0.5, +-0.5), one pair moved out and one in by 0.1 cancel.
    crop, residual = fit({"l_eye": Crop(0, 100).at(PLACES["l_eye"]), "r_eye": Crop(0, 100).at(PLACES["r_eye"])})
    assert near(crop, Crop(0, 100), 1e-9)
    assert residual < 1e-9
    points = {name: Crop(0, 100).at(PLACES[name]) for name in ("l_eye", "r_eye", "nose", "mouth")}
    _, residual = fit(points | {"nose": points["nose"] + 10j})
    # The frame gives way a little: 0.1 / 2 is what is left with three others fixed at their mean.
    assert 0.03 < residual < 0.05


def face_mask(side=200, **moved):
    """Return a mask with a disc at each part's place, moved by so much of the side."""
    mask = np.full((side, side), SKIN, np.uint8)
    for name, class_id in (("l_eye", L_EYE), ("r_eye", R_EYE), ("nose", NOSE), ("mouth", U_LIP)):
        place = (PLACES[name] + moved.get(name, 0)) * side
        if name not in moved or moved[name] is not None:
            cv2.circle(mask, (round(place.real - 0.5), round(place.imag - 0.5)), 8, class_id, cv2.FILLED)
    return mask


def test_parts_are_located_and_the_nearest_of_several_is_taken():
    mask = face_mask()
    assert locate(mask, "nose") == pytest.approx(PLACES["nose"], abs=0.003)
    cv2.circle(mask, (20, 20), 8, NOSE, cv2.FILLED)  # a neighbour's
    assert locate(mask, "nose") == pytest.approx(PLACES["nose"], abs=0.003)
    assert locate(mask, "eye_g") is None
    mask[0, 0] = ATTRIBUTES.index("eye_g")  # a pixel is no part
    assert locate(mask, "eye_g") is None


def test_refining_moves_the_frame_to_the_face():
    crop = Crop.around(500 + 400j, 200 * np.exp(0.3j))
    assert near(refine(crop, face_mask()), crop, 0.02)  # the discs' middles are rounded to pixels
    # Everything lies a tenth of the side further right in it.
    shifted = face_mask(l_eye=0.1, r_eye=0.1, nose=0.1, mouth=0.1)
    assert near(refine(crop, shifted), Crop(crop.at(0.1), crop.edge), 0.02)


def test_what_is_no_face():
    crop = Crop(0, 200)
    assert refine(crop, np.zeros((200, 200), np.uint8)) is None
    assert refine(crop, np.where(face_mask() == SKIN, np.uint8(0), face_mask())) is None  # parts without skin
    assert refine(crop, face_mask(mouth=-0.5j)) is None  # a mouth above the eyes
    assert refine(crop, cv2.rotate(face_mask(), cv2.ROTATE_180)) is None
    only_nose = np.where(np.isin(face_mask(), (L_EYE, R_EYE, U_LIP)), np.uint8(SKIN), face_mask())
    assert refine(crop, only_nose) is None
    hidden = np.where(np.isin(face_mask(), (L_EYE, R_EYE)), np.uint8(SKIN), face_mask())
    assert refine(crop, hidden) == crop  # hair over the eyes


def test_one_of_each_face_is_kept():
    first, again, beside, larger = (Crop.around(m, e) for m, e in ((100, 100), (110, 90), (150, 100), (100, 300)))
    assert distinct([first, again, beside, larger]) == [first, beside, larger]


# Outlines


def test_outlines_are_cut_at_the_photos_border():
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    (outline,) = trace(mask, method="contour")
    # The crop's first pixel is (-10, 50) in the photo: of the square, x from -0.5 to 4.5 is left.
    part = outline.moved(np.array([[1.0, 0, -10], [0, 1, 50]]), (100, 200))
    np.testing.assert_allclose([*part.points.min(0), *part.points.max(0)], [-0.5, 54.5, 4.5, 64.5], atol=0.05)
    assert part.area == pytest.approx(50, abs=1)
    on_border = part.points[:, 0] == -0.5
    np.testing.assert_array_equal(part.cut, on_border & np.roll(on_border, -1))
    assert not part.cut[0]
    assert part.cut.any()
    assert outline.moved(np.array([[1.0, 0, -50], [0, 1, 50]]), (100, 200)).area == 0


def test_background_wins_nearer_to_another_face():
    grid = np.zeros((129, 129, 19), np.float32)
    grid[..., SKIN] = 10
    own, other = Crop(0, 100), Crop(60, 100)  # the line between them is x = 80 of 100
    winner = give_way(grid, own, [other]).argmax(2)
    x = np.linspace(0, 1, 129)
    np.testing.assert_array_equal(winner, np.broadcast_to(np.where(x < 0.8, SKIN, 0), winner.shape))
    assert (grid.argmax(2) == SKIN).all()
    # Half as large and its middle 50 away: nearer where d(other) < d(own) / 2, a disc around it
    small = Crop.around(50 + 100j, 50)
    winner = give_way(grid, own, [small]).argmax(2)
    y = np.linspace(0, 100, 129)
    # On the vertical through both middles, at 50 and 100: |y - 100| < |y - 50| / 2 from y = 83.3 on.
    np.testing.assert_array_equal(winner[:, 64], np.where(y < 250 / 3, SKIN, 0))

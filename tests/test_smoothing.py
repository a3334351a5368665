"""Smoothing and tracking: calmer where a face is still, no later where it moves, and each face its own."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest

from facekp.classes import CELEBAMASK_HQ
from facekp.data.synthetic.write import draw_face
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import face_from_mask
from facekp.predict.settings import OneEuroConfig
from facekp.predict.tracking import FaceTracks, OneEuro

# A person who walks by: 1.4 m/s is a brisk pace, and a face is about 16 cm wide.
WALKING = 1.4 / 0.16  # face widths a second
NOISE = 0.005  # face widths: one pixel of a face that is 200 wide


@pytest.fixture(scope="module")
def drawn():
    """Return a drawn face and the width of its skin in pixels."""
    mask = np.zeros((256, 256), np.uint8)
    for name, inside in sorted(draw_face(4, 256).masks.items(), key=lambda one: CELEBAMASK_HQ.index(one[0])):
        mask[inside] = CELEBAMASK_HQ.index(name)
    face = face_from_mask(mask, dict.fromkeys(range(19), 1.0), KeypointConfig(n=32))
    return face, float(np.ptp(face.keypoints["skin"][:, 0]))


def moved(face, offset, noise=None):
    """Return `face` with its key points moved by (x, y) pixels, and noise of so many pixels added."""
    rng, sigma = noise or (None, 0)
    attributes = {
        name: replace(a, keypoints=(a.keypoints + offset + (rng.normal(0, sigma, (32, 2)) if rng else 0)).astype("f4"))
        for name, a in face.attributes.items()
    }
    return replace(face, attributes=attributes)


def points(face):
    return np.concatenate(list(face.keypoints.values()))


def smooth(frames, times, config=None):
    tracks = FaceTracks(config or OneEuroConfig())
    return np.stack([points(tracks([face], time)[0].face) for face, time in zip(frames, times, strict=True)])


def one_euro(values, times, min_cutoff, beta):
    """Return algorithm 1 of Casiez et al. 2012 for one coordinate, written from the paper."""

    def alpha(rate, cutoff):
        return 1.0 / (1.0 + rate / (2 * pi * cutoff))

    out, slope = [values[0]], 0.0
    for i in range(1, len(values)):
        rate = 1.0 / (times[i] - times[i - 1])
        a = alpha(rate, 1.0)
        slope = a * (values[i] - out[-1]) * rate + (1 - a) * slope
        a = alpha(rate, min_cutoff + beta * abs(slope))
        out.append(a * values[i] + (1 - a) * out[-1])
    return out


def test_the_filter_is_the_papers():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.08, 50))
    values = 100 + 30 * np.sin(2 * times) + rng.normal(0, 1, 50)
    # Along a line in any direction it is the one-dimensional filter, with speeds in widths of 20 pixels.
    want = np.array(one_euro(values, times, 1.7, 0.6 / 20))
    one = OneEuro(OneEuroConfig(1.7, 0.6))
    got = [one(np.array([[3 * v, 4 * v]], "f4") / 5, t, 20.0)[0] for v, t in zip(values, times, strict=True)]
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), want, atol=1e-4)
    assert np.abs(want - values).max() > 0.5  # the filter has something to do


@pytest.mark.slow
def test_a_still_face_is_at_least_twice_as_calm(drawn):
    face, width = drawn
    rng, times = np.random.default_rng(1), np.arange(90) / 30
    frames = [moved(face, 0, (rng, NOISE * width)) for _ in times]
    raw, smoothed = (off[30:] - points(face) for off in (np.stack([points(f) for f in frames]), smooth(frames, times)))
    assert np.std(raw) == pytest.approx(NOISE * width, rel=0.02)
    assert np.std(smoothed) < 0.5 * np.std(raw)
    assert np.std(np.diff(smoothed, axis=0)) < 0.25 * np.std(np.diff(raw, axis=0))  # it trembles less


@pytest.mark.parametrize("fps", [10, 60, 120])
@pytest.mark.slow
def test_a_face_that_walks_by_is_not_late(drawn, fps):
    # Still for a second, then off at once, for two seconds; with the noise of the still face.
    face, width = drawn
    rng, times = np.random.default_rng(2), np.arange(3 * fps) / fps
    path = WALKING * width * np.maximum(times - 1, 0)
    frames = [moved(face, (x, 0), (rng, NOISE * width)) for x in path]
    behind = (points(face)[:, 0] + path[:, None] - smooth(frames, times)[:, :, 0]).mean(1)
    step = WALKING * width / fps
    # The worst at 60 frames/s is the first step: speed 8.75 * 0.095 = 0.83, cutoff 11 Hz, so 0.47 of a frame is left.
    assert np.abs(behind).max() < (0.5 if fps <= 60 else 1) * step
    # In steady motion, what OneEuroConfig says.
    assert behind[2 * fps :].mean() < width / (2 * pi * OneEuroConfig().beta)


def test_it_does_the_same_at_any_resolution(drawn):
    face, width = drawn
    rng, times = np.random.default_rng(3), np.arange(20) / 30
    frames = [moved(face, (i, i), (rng, NOISE * width)) for i in range(20)]
    bigger = [{k: replace(a, keypoints=4 * a.keypoints) for k, a in f.attributes.items()} for f in frames]
    larger = [replace(f, attributes=a) for f, a in zip(frames, bigger, strict=True)]
    np.testing.assert_allclose(smooth(larger, times), 4 * smooth(frames, times), rtol=1e-5)


def test_an_attribute_that_was_away_starts_anew(drawn):
    face, _ = drawn
    tracks = FaceTracks(OneEuroConfig())
    away = replace(face, attributes={k: a for k, a in face.attributes.items() if k != "nose"})
    tracks([face], 0.0)
    tracks([away], 0.1)
    (back,) = tracks([moved(face, (5, 0))], 0.2)
    assert back.track == 0
    np.testing.assert_array_equal(back.face.keypoints["nose"], face.keypoints["nose"] + np.float32([5, 0]))
    assert (back.face.keypoints["skin"][:, 0] < face.keypoints["skin"][:, 0] + 4.9).all()


@pytest.mark.parametrize(("widths", "track"), [(0.9, 0), (1.1, 1)])
def test_a_cut_is_another_face(drawn, widths, track):
    face, width = drawn
    tracks = FaceTracks(OneEuroConfig())
    tracks([face], 0.0)
    (seen,) = tracks([after := moved(face, (0, widths * width))], 1 / 30)
    assert seen.track == track
    assert np.array_equal(points(seen.face), points(after)) == bool(track)


def test_points_that_jump_alone_start_anew(drawn):
    # An earring's outline is that of the larger one, which may be the other in the next frame.
    face, width = drawn
    tracks = FaceTracks(OneEuroConfig())
    tracks([face], 0.0)
    nose = replace(face.attributes["nose"], keypoints=face.keypoints["nose"] + np.float32([1.2 * width, 0]))
    (seen,) = tracks([replace(face, attributes={**face.attributes, "nose": nose})], 1 / 30)
    np.testing.assert_array_equal(seen.face.keypoints["nose"], nose.keypoints)


def test_each_face_keeps_its_number_and_its_filter(drawn):
    face, width = drawn
    tracks = FaceTracks(OneEuroConfig())
    left, right = face, moved(face, (3 * width, 0))
    assert [t.track for t in tracks([left, right], 0.0)] == [0, 1]
    # In another order, and moved a little towards each other.
    near, far = tracks([moved(right, (-9, 0)), moved(left, (9, 0))], 0.1)
    assert (near.track, far.track) == (1, 0)
    assert 0 < (points(far.face) - points(left))[:, 0].mean() < 9
    # One is missing for a frame, and another person comes.
    assert [t.track for t in tracks([left], 0.2)] == [0]
    third = moved(face, (0, 3 * width))
    again = tracks([third, right, left], 0.3)
    assert [t.track for t in again] == [2, 1, 0]
    np.testing.assert_array_equal(points(again[1].face), points(right))
    assert tracks([], 0.4) == []
    assert [t.track for t in tracks([left], 1.2)] == [0]
    assert [t.track for t in tracks([left], 2.3)] == [3]


def test_without_smoothing_faces_are_still_followed_and_without_skin_by_their_box(drawn):
    face, width = drawn
    tracks = FaceTracks(None)
    tracks([face], 0.0)
    (seen,) = tracks([shifted := moved(face, (0.2 * width, 0))], 0.1)
    assert seen.track == 0
    assert seen.face is shifted
    bare = replace(face, attributes={"nose": face.attributes["nose"]}, box=(0.0, 0.0, 100.0, 100.0))
    tracks = FaceTracks(None)
    tracks([bare], 0.0)
    assert tracks([replace(bare, box=(99.0, 0.0, 199.0, 100.0))], 0.1)[0].track == 0
    assert tracks([replace(bare, box=(201.0, 0.0, 301.0, 100.0))], 0.2)[0].track == 1


def shaken(face, offset):
    """Return `face` with its outlines moved by (x, y) pixels, off which its landmarks are read."""
    attributes = {
        name: replace(a, contours=tuple(replace(c, points=(c.points + offset).astype("f4")) for c in a.contours))
        for name, a in face.attributes.items()
    }
    return replace(face, attributes=attributes)


@pytest.mark.slow
def test_landmarks_are_smoothed_as_key_points_are(drawn):
    face, width = drawn
    rng, times = np.random.default_rng(4), np.arange(90) / 30
    frames = [shaken(face, offset) for offset in rng.normal(0, NOISE * width, (90, 2))]
    tracks, alone = FaceTracks(OneEuroConfig()), OneEuro(OneEuroConfig())

    def lips(landmarks):
        return np.array([landmarks[name].xy for name in ("r_mouth_corner", "l_mouth_corner")])

    raw = np.stack([lips(frame.landmarks) for frame in frames])
    got = np.stack([lips(tracks([frame], time)[0].landmarks) for frame, time in zip(frames, times, strict=True)])
    want = [alone(own, time, width) for own, time in zip(raw, times, strict=True)]
    np.testing.assert_allclose(got, want, atol=1e-3)
    still = lips(face.landmarks)
    assert np.std(got[30:] - still) < 0.5 * np.std(raw[30:] - still)


def test_landmarks_that_are_absent_stay_so_and_begin_anew(drawn):
    face, _ = drawn
    blind = replace(face, attributes={k: a for k, a in face.attributes.items() if k != "r_eye"})
    tracks = FaceTracks(OneEuroConfig())
    frames = [shaken(one, (k, 0)) for k, one in enumerate((face, face, blind, face))]
    seen = [tracks([frame], k / 30)[0].landmarks["r_eye_inner"] for k, frame in enumerate(frames)]
    assert [mark.xy is None for mark in seen] == [False, False, True, False]
    still = face.landmarks["r_eye_inner"]
    assert seen[1].xy[0] < still.xy[0] + 0.9  # behind
    np.testing.assert_allclose(seen[3].xy, still.xy + np.array([3, 0]), atol=0.01)  # from where it is
    assert (seen[3].visible, seen[3].confidence) == (still.visible, still.confidence)

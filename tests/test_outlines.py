"""Properties of outlines by either method, on drawn shapes and on scores whose true outlines are known."""

import json

import cv2
import jsonschema
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.shapes import HAIR, SIZE, block, clockwise, distance_to_ellipse, ellipse
from hypothesis import given, settings
from hypothesis import strategies as st

from facekp.formats.json import json_schema
from facekp.keypoints import outlines
from facekp.keypoints.resample import resample
from facekp.keypoints.score_grid import argmax_at, sum_on_grid
from facekp.keypoints.settings import METHODS, KeypointConfig
from facekp.parsing.face import face_from_mask

BOUND = {"canny": 1.0, "contour": 0.5}
"""How far, in pixels, a point may lie from the true outline."""
TIE = 0.005
"""What is allowed where an edge runs through the centres of pixels, so that the mask itself is off by half a pixel."""

methods = pytest.mark.parametrize("method", METHODS)
few = settings(max_examples=25, deadline=None, derandomize=True)
centres = st.tuples(st.floats(74, 76), st.floats(74, 76))
ellipses = st.tuples(st.floats(8, 32), st.floats(1, 2), st.booleans()).map(
    lambda drawn: (drawn[0], drawn[0] * drawn[1])[:: -1 if drawn[2] else 1]
)
boxes = st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(15, 80), st.integers(15, 80))


def brow(centre, length, size=SIZE):
    """A shape without any symmetry: an arc that grows thicker to the right."""
    y, x = np.mgrid[: size[0], : size[1]]
    u, v = (x - centre[0]) / length, (y - centre[1]) / length
    return (abs(u) <= 1) & (abs(v + 0.5 * (1 - u**2)) <= 0.2 + 0.1 * u)


def trace(mask, method):
    return outlines.trace(mask.view(np.uint8), method=method).get(1, [])


def only(mask, method):
    (outline,) = trace(mask, method)
    return outline


def score_maps(margin, size, strides=(8, 16, 32), classes=19):
    """Return maps of hair's score `margin(x, y)` against background's 0, at the centres of their own pixels."""
    maps = []
    for stride in strides:
        y, x = (np.arange(side // stride)[:, None] * stride + (stride - 1) / 2 for side in size)
        scores = np.full((len(y), len(x), classes), -1000, np.float32)
        scores[..., 0], scores[..., HAIR] = 0, margin(x.T, y)
        maps.append(scores)
    return maps


def traced(maps, size, **kwargs):
    grid = sum_on_grid(maps)
    return outlines.trace(argmax_at(grid, size), method="contour", grid=grid, **kwargs)


class TestDrawnShapes:
    @methods
    @few
    @given(centre=centres, axes=ellipses)
    def test_ellipses(self, method, centre, axes):
        """Of 8 pixels and more: 200 and more pixels."""
        mask = ellipse(centre, axes)
        outline = only(mask, method)
        assert distance_to_ellipse(outline.points, centre, axes).max() <= BOUND[method] + TIE
        assert outline.area == pytest.approx(mask.sum(), rel=0.01)
        assert not outline.hole
        assert not outline.cut.any()

    @methods
    @few
    @given(box=boxes)
    def test_rectangles(self, method, box):
        """Of 15 pixels and more a side; corners are rounded by less than half a pixel."""
        left, top, width, height = box
        outline = only(block(*box), method)
        x, y = (outline.points - (left - 0.5, top - 0.5)).T
        assert min(x.min(), y.min(), (width - x).min(), (height - y).min()) >= -1e-4  # never outside
        assert np.minimum.reduce([x, y, width - x, height - y]).max() < 0.5
        assert outline.area == pytest.approx(width * height, rel=0.01)

    @methods
    @few
    @given(centre=centres, outer=st.floats(20, 60), inner=st.floats(8, 15))
    def test_rings(self, method, centre, outer, inner):
        outline, hole = trace(ellipse(centre, (outer, outer)) & ~ellipse(centre, (inner, inner)), method)
        assert (outline.hole, hole.hole) == (False, True)
        assert (clockwise(outline.points), clockwise(hole.points)) == (True, False)
        for found, radius in ((outline, outer), (hole, inner)):
            # The anchor: straight above the centroid.
            np.testing.assert_allclose(found.points[0], (centre[0], centre[1] - radius), atol=BOUND[method])
            away = np.linalg.norm(found.points - centre, axis=1) - radius
            assert abs(away).max() <= BOUND[method] + TIE
            assert found.area == pytest.approx(ellipse(centre, (radius, radius)).sum(), rel=0.01)

    @methods
    @few
    @given(shift=st.tuples(st.integers(-30, 40), st.integers(-20, 50)), n=st.integers(3, 64))
    def test_moving_a_shape_moves_its_points(self, method, shift, n):
        places = (70.0, 70.0), (70.0 + shift[0], 70.0 + shift[1])
        still, moved = (resample(only(brow(centre, 35), method).points, n) for centre in places)
        np.testing.assert_allclose(moved, still + shift, atol=1e-3)

    @methods
    @few
    @given(factor=st.integers(2, 4), length=st.floats(20, 40))
    def test_enlarging_a_shape_moves_its_points_apart(self, method, factor, length):
        centre = np.array([60.3, 60.8])
        axes = np.array([length, 0.7 * length])
        small = only(ellipse(centre, axes), method)
        large = only(ellipse((centre + 0.5) * factor - 0.5, axes * factor, (150 * factor, 160 * factor)), method)
        want = (resample(small.points, 32) + 0.5) * factor - 0.5
        away = np.linalg.norm(resample(large.points, 32) - want, axis=1)
        assert away.max() < factor  # a pixel of the small mask

    @methods
    @few
    @given(centre=st.tuples(st.floats(60, 90), st.floats(60, 90)), n=st.integers(3, 64))
    def test_mirroring_a_mask_reverses_its_points(self, method, centre, n):
        """The anchor stays, so point k becomes n - k."""
        mask = brow(centre, 40)
        points, mirrored = (resample(only(m, method).points, n) for m in (mask, mask[:, ::-1].copy()))
        mirrored[:, 0] = mask.shape[1] - 1 - mirrored[:, 0]
        # Canny keeps the upper left one of two pixels beside an edge, so it is not quite symmetric.
        np.testing.assert_allclose(np.roll(mirrored[::-1], 1, 0), points, atol=1.0 if method == "canny" else 0.02)

    @methods
    @pytest.mark.parametrize(
        "box", [(5, 5, 1, 1), (5, 5, 15, 1), (5, 5, 1, 15), (5, 5, 2, 2), (0, 0, 1, 1), (0, 0, 40, 1)]
    )
    def test_one_pixel_and_lines_have_an_outline_in_their_own_pixels(self, method, box):
        left, top, width, height = box
        outline = only(block(*box, size=(30, 40)), method)
        points = resample(outline.points, 8, outline.cut)
        assert ((points >= (left - 0.5, top - 0.5)) & (points <= (left + width - 0.5, top + height - 0.5))).all()
        assert 0 < outline.area <= width * height
        extent = np.ptp(outline.points, axis=0).max()
        assert max(width, height) - 1 < extent + 0.5 <= max(width, height) + 0.5

    @methods
    def test_nothing_has_no_outline_and_the_whole_image_its_border(self, method):
        assert trace(np.zeros((30, 40), bool), method) == []
        outline = only(np.ones((30, 40), bool), method)
        assert outline.area == pytest.approx(30 * 40, rel=0.01)
        assert outline.cut.all()
        points = resample(outline.points, 16, outline.cut)  # all is cut: then nothing is left out
        on_side = np.isclose(points, -0.5) | np.isclose(points, (39.5, 29.5))
        assert on_side.any(1).sum() >= 12  # corners are rounded


class TestScores:
    @pytest.mark.parametrize("strides", [(8, 16, 32), (4,)])
    @few
    @given(angle=st.floats(-3.14, 3.14), across=st.floats(-40, 40), scale=st.sampled_from([0.5, 1, 2, 1.7]))
    def test_straight_lines_are_exact_and_the_border_cuts_them(self, strides, angle, across, scale):
        """A half-plane: linear scores stay linear in every map and in their sum, except near the border."""
        cos, sin = np.cos(angle), np.sin(angle)
        maps = score_maps(lambda x, y: cos * (x - 127.5) + sin * (y - 127.5) - across, (256, 256), strides)
        size = (round(256 * scale), round(256 * scale))
        (outline,) = traced(maps, size)[HAIR]
        x, y = ((outline.points + 0.5) * 256 / size[0] - 0.5).T
        margin = cos * (x - 127.5) + sin * (y - 127.5) - across
        inner = (np.minimum(x, y) > 16) & (np.maximum(x, y) < 239)  # beyond the outermost centres maps go on constant
        free = ~outline.cut & ~np.roll(outline.cut, 1)  # the points between two pieces that are not cut
        assert free.any()
        assert abs(margin[free & inner]).max() < 1e-3
        on_side = np.minimum.reduce([x + 0.5, y + 0.5, 255.5 - x, 255.5 - y]) < 1e-3
        np.testing.assert_array_equal(outline.cut, on_side & np.roll(on_side, -1))
        assert np.count_nonzero(outline.cut & ~np.roll(outline.cut, 1)) == 1  # one cut
        assert not outline.cut[0]

    @pytest.mark.parametrize(("strides", "blur"), [((8, 16, 32), 0.8), ((4,), 2.4)])
    @pytest.mark.parametrize("scale", [0.5, 1.5])
    def test_points_lie_where_two_upsampled_scores_are_equal(self, scale, strides, blur):
        """Several classes: against PyTorch's upsampling of every map to an eighth of a pixel."""
        rng = np.random.default_rng(3)
        noise = (rng.normal(size=(128 // s, 160 // s, 4)).astype(np.float32) for s in strides)
        maps = [cv2.GaussianBlur(one, (0, 0), blur) for one in noise]
        size = (round(128 * scale), round(160 * scale))
        dense = sum(
            F.interpolate(torch.from_numpy(m).movedim(2, 0)[None], size=(1024, 1280), mode="bilinear")[0] for m in maps
        ).numpy()
        away = []
        for class_id, contours in traced(maps, size).items():
            margin = dense[class_id] - np.delete(dense, class_id, 0).max(0)
            slope = np.hypot(*np.gradient(margin))
            for contour in contours:
                points = ((contour.points + 0.5) * (8 / scale) - 0.5)[~contour.cut & ~np.roll(contour.cut, 1)]
                x, y = points.round().astype(int).T
                away.extend(abs(margin[y, x]) / slope[y, x] / 8)  # in pixels of the maps' image
        assert len(away) > 1000
        assert np.median(away) < 0.05
        assert np.mean(np.array(away) < 0.25) > 0.98

    def test_holes_and_small_parts(self):
        def margin(x, y):
            ring = 25 - abs(np.hypot(x - 128, y - 128) - 75)
            return np.maximum(ring, 12 - np.hypot(x - 20, y - 20))

        size = (256, 256)
        maps = score_maps(margin, size, strides=(8,))
        ring, dot, hole = traced(maps, size)[HAIR]
        assert [c.hole for c in (ring, dot, hole)] == [False, False, True]
        for found, centre, radius in ((ring, (128, 128), 100), (hole, (128, 128), 50), (dot, (20, 20), 12)):
            assert abs(np.linalg.norm(found.points - centre, axis=1) - radius).max() < 1.0
        assert len(traced(maps, size, min_area=1000)[HAIR]) == 2

    def test_a_class_that_wins_everywhere_has_the_border(self):
        maps = score_maps(lambda x, y: np.ones((y.size, x.size)), (64, 96))
        (outline,) = traced(maps, (64, 96))[HAIR]
        assert outline.area == pytest.approx(64 * 96, rel=1e-4)
        assert outline.cut.all()


class TestCut:
    @methods
    def test_what_the_border_cuts_is_marked_and_holds_no_key_points(self, method):
        mask = ellipse((80, 140), (40, 60))  # its lower part is beyond the image, 150 high
        outline = only(mask, method)
        (run,) = np.flatnonzero(np.diff(outline.cut, prepend=False, append=False)).reshape(-1, 2)
        ends = outline.points[[run[0], run[1] % len(outline.points)]]
        # The ellipse meets y = 149.5 at 80 +- 40 sqrt(1 - (9.5 / 60)^2) = 80 +- 39.5; the right end is first.
        np.testing.assert_allclose(ends, [(119.5, 149.5), (40.5, 149.5)], atol=1.0)
        points = resample(outline.points, 32, outline.cut)
        np.testing.assert_allclose(points[0], [80, 80], atol=1.0)  # the anchor
        assert distance_to_ellipse(points, (80, 140), (40, 60)).max() <= 1.0
        assert not only(np.pad(mask, ((0, 9), (0, 0))), method).cut.any()

    @methods
    def test_a_shape_whose_anchor_is_cut_starts_where_it_leaves_the_border(self, method):
        outline = only(ellipse((80, 10), (40, 60)), method)
        # It meets y = -0.5 at 80 +- 40 sqrt(1 - (10.5 / 60)^2) = 80 +- 39.4, and leaves it on the right.
        points = resample(outline.points, 32, outline.cut)
        np.testing.assert_allclose(points[0], [119.4, -0.5], atol=1.0)
        assert outline.cut[-1]
        assert distance_to_ellipse(points, (80, 10), (40, 60)).max() <= 1.0

    @methods
    def test_a_band_across_the_image_keeps_its_points_in_order(self, method):
        """Cut twice: down its right side, and up its left one."""
        outline = only(block(60, 0, 41, 150), method)
        assert np.count_nonzero(np.diff(outline.cut.astype(int), prepend=0, append=0) == 1) == 2
        points = resample(outline.points, 30, outline.cut)
        # 15 on either side, 10 apart, each side from where the outline enters the image.
        down = np.arange(15) * 10 - 0.5
        np.testing.assert_allclose(points, [(100.5, y) for y in down] + [(59.5, 149 - y) for y in down], atol=0.5)

    def test_key_points_do_not_leap_when_a_shape_touches_the_border(self):
        centre, points = (80.0, 41.0), []
        for up in (0, 2):  # its top at y = 0.5, then at -1.5: cut over 2 * 40 * sqrt(1 - (39 / 40)^2) = 18 pixels
            outline = only(ellipse((centre[0], centre[1] - up), (40, 40)), "contour")
            points.append(resample(outline.points, 32, outline.cut) + np.array([0, up]))
        # Point 0 goes from the top to the end of the cut; a point's share of the missing 18 pixels is less than that.
        assert np.linalg.norm(points[1] - points[0], axis=1).max() < 10

    def test_json_lists_where_outlines_are_cut(self):
        mask = np.zeros((100, 120), np.uint8)
        mask[60:, 20:50] = 17  # cut below
        mask[:20] = HAIR  # cut left, above and right, in one run
        mask[30:40, 60:80] = 2
        face = face_from_mask(mask, dict.fromkeys(range(19), 1.0), KeypointConfig(n=16))
        plain = {"schema": "facekp/2", "source": "a", "width": 120, "height": 100, "faces": [face.to_dict()]}
        plain = json.loads(json.dumps(plain))
        jsonschema.validate(plain, json_schema())
        contours = {a["name"]: a["contours"][0] for a in plain["faces"][0]["attributes"]}
        assert "cut" not in contours["nose"]
        for name, lengths in (("neck", 30), ("hair", 20 + 120 + 20)):
            ((first, end),) = contours[name]["cut"]
            points = np.array(contours[name]["points"])
            run = points[np.arange(first, end + 1) % len(points)]
            assert np.linalg.norm(np.diff(run, axis=0), axis=1).sum() == pytest.approx(lengths, abs=2.5)
            x, y = run.T
            assert np.minimum.reduce([x + 0.5, y + 0.5, 119.5 - x, 99.5 - y]).max() <= 0.5
        plain["faces"][0]["attributes"][0]["contours"][0]["cut"] = [[1]]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(plain, json_schema())


class TestMoved:
    def test_a_turned_crop_comes_back_to_its_place_in_the_photo(self):
        angle, scale, shift = np.radians(30), 1.5, np.array([90.0, 20.0])
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        crop = only(brow((75, 75), 40), "contour")
        moved = crop.moved(np.column_stack([turn, shift]), (400, 400))
        np.testing.assert_allclose(moved.points, crop.points @ turn.T + shift, atol=1e-4)
        assert moved.area == pytest.approx(2.25 * crop.area, rel=1e-4)
        assert not moved.cut.any()

    def test_what_lies_beyond_the_photo_is_cut_off(self):
        # A disc of 40 pixels whose centre comes to lie 10 pixels left of the photo's left border, at -0.5.
        crop = only(ellipse((70, 70), (40, 40)), "contour")
        moved = crop.moved(np.array([[1.0, 0, -80.5], [0, 1, 30]]), (200, 200))
        # A segment of height 30: r^2 acos(d / r) - d sqrt(r^2 - d^2), with d = 10.
        assert moved.area == pytest.approx(1600 * np.arccos(0.25) - 10 * np.sqrt(1500), rel=0.01)
        points = resample(moved.points, 32, moved.cut)
        away = np.linalg.norm(points - (-10.5, 100), axis=1) - 40
        assert abs(away).max() < 1.0
        # It starts where it enters the photo, at the top: y = 100 - sqrt(1600 - 100).
        np.testing.assert_allclose(points[0], [-0.5, 100 - np.sqrt(1500)], atol=1.0)
        gone = crop.moved(np.array([[1.0, 0, -500], [0, 1, 0]]), (200, 200))
        assert (gone.area, gone.cut.all()) == (0, True)

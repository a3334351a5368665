"""Key points on Canny's outlines, by hand, and the argmax of summed scores. See test_outlines.py too."""

import cv2
import numpy as np
import pytest
import torch
from helpers.shapes import block, clockwise, ellipse
from torch import nn

from facekp.errors import ConfigError
from facekp.keypoints import outlines
from facekp.keypoints.curves import anchored
from facekp.keypoints.score_grid import CHUNK_PIXELS, argmax_at, sum_on_grid
from facekp.keypoints.settings import KeypointConfig
from facekp.models import fuse


def trace(mask, **kwargs):
    return outlines.trace(mask.view(np.uint8), method="canny", **kwargs).get(1, [])


def test_large_and_small_attributes_lie_on_the_same_outline():
    # 150 pixels across, a mask is not enlarged; 100 across, it is. Both are circles about their true centres.
    for radius in (75, 50):
        centre = (160.25, 150.75)
        (outline,) = trace(ellipse(centre, (radius, radius), size=(300, 320)))
        away = np.linalg.norm(outline.points - centre, axis=1) - radius
        assert abs(away.mean()) < 0.1
        assert np.abs(away).max() < 1.0
        assert outline.area == pytest.approx(np.pi * radius**2, rel=0.005)


def test_smoothing_does_not_shrink_small_parts():
    # A Gaussian of 0.8 pixels alone takes 0.8^2 / 6^2 = 1.8 % of a circle's area.
    for radius in (6.0, 6.3, 6.6):
        mask = ellipse((80, 70), (radius, radius))
        (outline,) = trace(mask)
        assert outline.area == pytest.approx(mask.sum(), rel=0.012)


def test_lines_of_one_pixel_have_one_pixel_of_width():
    # In a class too large to be enlarged: a frame 150 across with a line through it.
    mask = np.zeros((200, 200), dtype=bool)
    mask[20:24, 20:170] = mask[166:170, 20:170] = mask[20:170, 20:24] = mask[20:170, 166:170] = True
    mask[100, 24:166] = True
    outer, upper, lower = trace(mask)
    assert outer.area == pytest.approx(150 * 150, abs=4)
    # Rows 24..99 and 101..165 between columns 24..165.
    assert (upper.area, lower.area) == pytest.approx((76 * 142, 65 * 142), rel=0.002)


def test_every_class_of_a_label_map_is_traced_by_itself():
    mask = np.zeros((100, 300), dtype=np.uint8)
    mask[10:90, 10:90] = 1
    mask[30:50, 30:50] = 4  # inside class 1, where it is a hole
    mask[20:40, 120:150] = 18
    mask[60:80, 120:280] = 18  # large, so that it is not enlarged and smoothed before the others
    contours = outlines.trace(mask, method="canny")
    assert list(contours) == [1, 4, 18]
    assert [c.hole for c in contours[1]] == [False, True]
    assert [c.area for c in contours[1]] == pytest.approx([6400, 400], abs=4)  # corners are rounded
    assert [c.area for c in contours[4]] == pytest.approx([400], abs=2)
    assert [c.area for c in contours[18]] == pytest.approx([3200, 600], abs=4)
    np.testing.assert_allclose(contours[4][0].points.mean(0), contours[1][1].points.mean(0), atol=0.5)


def test_outlines_follow_cannys_edges():
    mask = ellipse((200, 150), (120, 90), size=(300, 400)) & ~ellipse((200, 150), (30, 30), size=(300, 400))
    edges = cv2.Canny(mask.view(np.uint8) * 255, 100, 200)
    drawn = np.full(mask.shape, 255, np.uint8)
    for contour in trace(mask):
        # Canny marks the upper left one of the two pixels beside an edge: half a pixel from it.
        points = np.round((contour.points - 0.5) * 16).astype(np.int32)
        cv2.polylines(drawn, [points], True, 0, 1, cv2.LINE_8, 4)
    away = cv2.distanceTransform(drawn, cv2.DIST_L2, 5)[edges > 0]
    assert len(away) > 600
    assert away.max() <= 1.5
    assert np.mean(away <= 0.5) > 0.8


def test_anchor_is_interpolated_on_the_curve():
    # A triangle: centroid of its outline at x = 2, whose vertical meets the upper edges at the apex.
    triangle = np.array([[0, 4], [2, 0], [4, 4]], dtype=float)
    ((forward, _),) = anchored([triangle])
    ((backward, _),) = anchored([triangle[::-1]])
    np.testing.assert_allclose(forward[0], [2, 0], atol=1e-9)
    # The same curve the other way round gives the same start and direction.
    np.testing.assert_allclose(backward[0], [2, 0], atol=1e-9)
    assert clockwise(backward)
    # Several at once, one of them a single place, are each as alone.
    (first, area), (place, none), (last, _) = anchored([triangle, np.ones((3, 2)), triangle[::-1] + 10])
    np.testing.assert_array_equal(first, forward)
    np.testing.assert_allclose(last, backward + 10)
    np.testing.assert_array_equal(place, np.ones((4, 2)))
    assert (area, none) == (8, 0)


def test_parts_come_before_holes_from_large_to_small_and_small_ones_are_dropped():
    mask = np.zeros((100, 200), dtype=bool)
    mask[10:90, 10:90] = True
    mask[30:50, 30:50] = False
    mask[20:40, 120:150] = True
    mask[80:83, 180:183] = True
    contours = trace(mask)
    assert [c.hole for c in contours] == [False, False, False, True]
    assert [c.area for c in contours] == pytest.approx([6400, 600, 9, 400], abs=4)  # corners are rounded
    # A hole goes with its part: a hoop of 156 pixels around 1,444.
    hoop = block(20, 20, 40, 40) & ~block(21, 21, 38, 38)
    assert trace(hoop, min_area=200) == []
    assert len(trace(mask, min_area=10)) == 3
    assert len(trace(mask, min_area=401)) == 2


def test_settings_out_of_range_are_named():
    with pytest.raises(ConfigError, match=r"keypoints\.n is 2"):
        KeypointConfig(n=2)
    with pytest.raises(ConfigError, match=r"keypoints\.min_area is 1"):
        KeypointConfig(min_area=1)


def random_maps(h, w, strides=(1, 2, 4), seed=0):
    """Score maps (h, w, 19) and coarser ones, with outlines everywhere."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(h // s, w // s, 19)).astype(np.float32) for s in strides]


def plain(maps, size):
    """Every map upsampled by torch and added up, (H, W, 19) float64."""
    scores = [torch.from_numpy(m).double().permute(2, 0, 1)[None] for m in maps]
    return fuse(scores, size)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("strides", [(1,), (1, 2), (1, 2, 4)])
def test_between_grid_points_the_sum_is_what_upsampling_gives(strides):
    maps = random_maps(8, 12, strides)
    grid = sum_on_grid(maps)
    if strides == (1,):  # one cell is a pixel; the first point lies half a cell before the border
        assert (grid.points.shape, grid.cells, grid.beyond) == ((10, 14, 19), (8, 12), 0.5)
        parts, first = 8, 5
    else:  # a cell is half a pixel
        assert (grid.points.shape, grid.cells, grid.beyond) == ((17, 25, 19), (16, 24), 0)
        parts, first = 4, 1
    np.testing.assert_allclose(grid.at_centres(grid.points), plain(maps, (8, 12)), atol=1e-5)
    # Four pixels to a pixel of the finest map lie 1/8, 3/8, 5/8 and 7/8 of it from the border on.
    scores = torch.from_numpy(grid.points).double().permute(2, 0, 1)[None]
    size = [parts * (count - 1) + 1 for count in grid.points.shape[:2]]
    finer = nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
    between = finer[0, :, first : size[0] + 1 - first : 2, first : size[1] + 1 - first : 2].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(between, plain(maps, (32, 48)), atol=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (8, 12), (5, 7), (200, 131), (9, 500), (1, 1)])
@pytest.mark.parametrize("strides", [(1,), (1, 2, 4)])
def test_the_winner_is_that_of_plain_upsampling_at_every_size(size, strides):
    maps = random_maps(8, 12, strides)
    want = plain(maps, size)
    mask = argmax_at(sum_on_grid(maps), size)
    assert (mask.dtype, mask.shape) == (np.uint8, size)
    # Where float32 decides otherwise than float64, the two classes are equal to its last digits.
    lost = want.max(2) - np.take_along_axis(want, mask[..., None].astype(np.intp), 2)[..., 0]
    assert lost.max() < 1e-5
    assert np.mean(mask != want.argmax(2)) < 1e-4


def test_more_pixels_along_outlines_than_are_evaluated_at_a_time():
    maps = random_maps(16, 16)
    assert 4 * CHUNK_PIXELS < 600 * 600
    assert np.mean(argmax_at(sum_on_grid(maps), (600, 600)) != plain(maps, (600, 600)).argmax(2)) < 1e-4


def test_maps_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="half of the one before"):
        sum_on_grid([np.zeros((8, 8, 19), np.float32), np.zeros((3, 3, 19), np.float32)])
    with pytest.raises(ValueError, match="no score maps"):
        sum_on_grid([])

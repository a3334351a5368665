"""Canny's outlines of drawn shapes, and key points on them; test_outlines.py has what holds for both methods."""

import cv2
import numpy as np
import pytest
from helpers.shapes import block, clockwise, ellipse

from facekp.errors import ConfigError
from facekp.keypoints import outlines
from facekp.keypoints.curves import anchored
from facekp.keypoints.settings import KeypointConfig


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

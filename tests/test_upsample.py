"""The argmax of summed scores, against plain upsampling by torch in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from facekp.keypoints.score_grid import CHUNK_PIXELS, argmax_at, sum_on_grid
from facekp.models import fuse


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

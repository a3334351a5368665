"""Drawn shapes whose outlines are known, and a network whose scores are."""

import numpy as np
from scipy.spatial import cKDTree

from facekp.classes import CELEBAMASK_HQ

NOSE, HAIR = 2, 13
SIZE = (150, 160)


def ellipse(centre, axes, size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]]
    return ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 <= 1


def distance_to_ellipse(points, centre, axes):
    t = np.linspace(0, 2 * np.pi, 20000)
    curve = np.stack([centre[0] + axes[0] * np.cos(t), centre[1] + axes[1] * np.sin(t)], axis=1)
    return cKDTree(curve).query(points)[0]


def clockwise(points):
    """Shoelace formula: positive where a curve runs clockwise with y downwards."""
    x, y = points[:, 0], points[:, 1]
    return np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0


def block(left, top, width, height, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def picture(height, width, top, left, side):
    """Return a black picture with a white square."""
    return np.repeat(block(left, top, side, side, (height, width))[..., None] * np.uint8(255), 3, axis=2)


class BrightIsNose:
    """Scores by brightness: nose where the picture is bright, hair elsewhere, 10 apart on each of three heads."""

    classes = CELEBAMASK_HQ

    def __init__(self, size=256, batch=1):
        self.size, self.batch, self.streams = size, batch, 1
        self.calls = []

    def __call__(self, images):
        n, height, width, _ = images.shape
        self.calls.append(n)
        maps = []
        for stride in (8, 16, 32):
            grey = images.mean(3).reshape(n, height // stride, stride, width // stride, stride).mean((2, 4))
            one = np.zeros((*grey.shape, 19), np.float32)
            one[..., NOSE], one[..., HAIR] = 10 * (grey > 115), 10 * (grey <= 115)
            maps.append(one)
        return maps

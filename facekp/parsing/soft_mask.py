"""Soft masks: the probability of a region at every pixel of the photo, computed from the network's scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.errors import require
from facekp.keypoints.score_grid import Scores
from facekp.parsing.face_crop import Crop, window

LEAST: Final = -6e4
"""Lowest score relative to the highest: classes that cannot win are lower by far, but their odds stay finite."""
BEYOND: Final = 1e4
"""Log-odds of background beyond the parsed part of the photo."""
CERTAIN: Final = 0.7
"""Probability from which a pixel belongs wholly to a region: OHEM trains none beyond its threshold of 0.7, so that
probabilities stay near it even deep inside hair."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The scores behind a face's mask at the network's resolution: 1.2 MB at 512 pixels and stride 4.

    Attributes:
        values: (h, w, C) float32, the summed scores at the centres of the finest map's pixels.
        crop: the part of the photo that they cover; None for all of it.
    """

    values: Scores
    crop: Crop | None = None

    def probability(self, ids: Sequence[int], size: tuple[int, int]) -> Scores:
        """Return the probability (H, W) float32, 0..1, of the union of classes in a photo of `size` (H, W).

        It is the softmax, summed over `ids`. Between the scores' pixels, its log-odds are interpolated bilinearly, so
        that its edge is as sharp as the mask's and lies along it.
        """
        others = [i for i in range(self.values.shape[2]) if i not in ids]
        if not others:
            return np.ones(size, np.float32)
        scores = np.maximum(self.values - self.values.max(2, keepdims=True), LEAST)
        odds = _log_sum(scores[..., list(ids)]) - _log_sum(scores[..., others])
        if self.crop is None:
            return _sigmoid(cv2.resize(odds, size[::-1], interpolation=cv2.INTER_LINEAR))
        # Enlarged to the photo's pixels first: OpenCV's warp interpolates in steps of 1/32.
        side = max(len(odds), math.ceil(self.crop.side))
        odds = cv2.resize(odds, (side, side), interpolation=cv2.INTER_LINEAR)
        beyond = BEYOND if 0 in ids else -BEYOND
        left, top, right, bottom = window(self.crop, size)
        matrix = self.crop.matrix(side) - np.array([[0, 0, left], [0, 0, top]])
        result = np.full(size, float(0 in ids), np.float32)
        result[top:bottom, left:right] = _sigmoid(
            cv2.warpAffine(odds, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR, borderValue=beyond)
        )
        return result


def _log_sum(scores: Scores) -> Scores:
    """Return the logarithm of the summed exponentials along the last axis."""
    highest = scores.max(2)
    total: Scores = highest + np.log(np.exp(scores - highest[..., None]).sum(2))
    return total


def _sigmoid(odds: npt.NDArray[np.generic]) -> Scores:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * np.asarray(odds, np.float32)), np.float32)


def in_pixels(name: str, length: float, face_side: float) -> float:
    """Return a length in pixels: 1 and more are pixels, below 1 it is a share of the face's side.

    Raises:
        ConfigError: `length`, called `name` in the message, is not a finite number.

    Example:
        >>> in_pixels("feather", 3, 200), in_pixels("feather", 0.02, 200), in_pixels("grow", -0.1, 200)
        (3, 4.0, -20.0)
    """
    require(name, length, math.isfinite(length), "give pixels, such as 3, or a share of the face's side, such as 0.02")
    return length if abs(length) >= 1 else length * face_side


def stretched(probability: Scores, certain: float) -> Scores:
    """Stretch probabilities (H, W) between 1 - `certain` and `certain` to 0..1, and clip the others.

    Example:
        >>> stretched(np.float32([0.2, 0.4, 0.5, 0.6, 0.9]), 0.7).round(3).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if certain == 1:
        return probability
    return np.asarray(((probability - 0.5) / (2 * certain - 1) + 0.5).clip(0, 1), np.float32)


def grown(alpha: Scores, pixels: float) -> Scores:
    """Move the edges of a soft mask (H, W) outwards, or inwards if `pixels` is negative, by whole pixels."""
    radius = round(abs(pixels))
    if not radius:
        return alpha
    x = np.arange(-radius, radius + 1)
    disc = (x**2 + x[:, None] ** 2 <= radius**2).astype(np.uint8)
    return np.asarray((cv2.dilate if pixels > 0 else cv2.erode)(alpha, disc), np.float32)


def feathered(alpha: Scores, pixels: float) -> Scores:
    """Blur a soft mask (H, W) with a Gaussian of this standard deviation; the photo's border does not fade it."""
    if not pixels:
        return alpha
    blurred = cv2.GaussianBlur(alpha, (0, 0), pixels, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.minimum(blurred, 1), np.float32)  # rounding leads beyond 1

"""Labels and scores for measuring a loss: drawn faces, and scores that are right as often as is wanted."""

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekp.classes import ATTRIBUTES, NUM_CLASSES
from facekp.data.synthetic.write import draw_face

STRIDE = 8
THRESHOLD = 0.7
"""A pixel is hard where its class has a lower probability."""
LARGEST_MARGIN = 64.0


@functools.cache
def draw_labels(faces: int, size: int) -> Tensor:
    """Return the labels of drawn faces, (faces, size, size) int64."""
    labels = np.zeros((faces, size, size), dtype=np.int64)
    for label, seed in zip(labels, range(faces), strict=True):
        masks = draw_face(seed, size).masks
        for class_id, name in enumerate(ATTRIBUTES):
            if name in masks:
                label[masks[name]] = class_id
    return torch.from_numpy(labels)


def make_scores(labels: Tensor, margin: float) -> Tensor:
    """Return scores at stride 8 that favour the labels' classes by `margin`, under noise of deviation 1.

    Args:
        labels: (N, H, W) int64, H and W multiples of 8.
        margin: 0 knows nothing; at 64 only the classes' edges are wrong.

    Returns:
        (N, 19, H/8, W/8) float32, always the same for the same arguments.
    """
    # Image by image: all at once would take half a gigabyte.
    shares = [F.avg_pool2d(F.one_hot(label, NUM_CLASSES).movedim(-1, 0).float(), STRIDE) for label in labels]
    likely = torch.stack(shares)
    return margin * likely + torch.randn(likely.shape, generator=torch.Generator().manual_seed(0))


def hard_share(scores: Tensor, labels: Tensor) -> float:
    """Return the share of pixels whose upsampled scores give their class less than the threshold."""
    hard = 0
    for score, label in zip(scores, labels, strict=True):
        up = F.interpolate(score[None], size=label.shape, mode="bilinear", align_corners=False)
        hard += int((F.cross_entropy(up, label[None], reduction="none") > -math.log(THRESHOLD)).sum())
    return hard / labels.numel()


def find_margin(labels: Tensor, share: float, tolerance: float = 0.002) -> float:
    """Return the margin of `make_scores` at which `share` of the pixels are hard, by bisection.

    Raises:
        ValueError: no margin gives that share.
    """
    low, high = 0.0, LARGEST_MARGIN  # the share falls from about 1 to what the edges leave
    margin = low
    for _ in range(40):
        found = hard_share(make_scores(labels, margin), labels)
        if abs(found - share) <= tolerance:
            return margin
        low, high = (margin, high) if found > share else (low, margin)
        margin = (low + high) / 2
    raise ValueError(
        f"share is {share}: these labels come no nearer than {found:.3f}; take larger images or a larger share"
    )

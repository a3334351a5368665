"""From the heads' score maps to one: what `argmax` is taken over."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def fuse(scores: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Upsample every head's scores bilinearly and add them up.

    Args:
        scores: score maps (N, C, h, w) float, each at its own resolution.
        size: (H, W) of the result.

    Returns:
        (N, C, H, W) float32 (float64 for float64 scores).
    """
    maps = [s if s.dtype.itemsize >= 4 else s.float() for s in scores]
    first, *rest = [F.interpolate(s, size=size, mode="bilinear", align_corners=False) for s in maps]
    for other in rest:
        first = first + other
    return first

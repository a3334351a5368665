"""Normalisation of pixels with ImageNet's mean and standard deviation."""

from functools import cache

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """Normalise pixels (N, H, W, 3) uint8 RGB where they are, to (N, 3, H, W) float32 in channels_last."""
    scale, shift = _constants(images.shape[2], images.device)
    # Rows of W * 3 numbers: an innermost loop over three channels would take several times as long.
    rows = images.flatten(2)
    if images.device.type == "cpu":
        out = torch.empty(rows.shape, dtype=torch.float32)
        for target, source in zip(out, rows, strict=True):  # image by image, which fits a processor's cache
            torch.addcmul(shift, target.copy_(source), scale, out=target)
    else:
        out = torch.addcmul(shift, rows.float(), scale)
    return out.view(images.shape).permute(0, 3, 1, 2)


@cache
def _constants(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the factors and the summands of a row of `width` pixels, (width * 3,) float32 each."""
    mean, std = (torch.tensor(values, device=device).repeat(width) for values in (MEAN, STD))
    return 1 / (255 * std), -mean / std

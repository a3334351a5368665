"""Normalisation of pixels with ImageNet's mean and standard deviation."""

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """Normalise pixels on the device where they are.

    Args:
        images: (N, H, W, 3) uint8 RGB.

    Returns:
        (N, 3, H, W) float32 in channels_last.
    """
    width = images.shape[2]
    mean, std = (torch.tensor(v, device=images.device).repeat(width) for v in (MEAN, STD))
    scale, shift = 1 / (255 * std), -mean / std
    # Rows of W * 3 numbers: an innermost loop over three channels would take several times as long.
    rows = images.flatten(2)
    out = torch.empty(rows.shape, dtype=torch.float32, device=images.device)
    for target, source in zip(out, rows, strict=True):  # image by image, which fits a processor's cache
        torch.addcmul(shift, target.copy_(source), scale, out=target)
    return out.view(images.shape).permute(0, 3, 1, 2)

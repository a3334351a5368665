"""Score heads: their output, its fusion into one score map, and the paper's output layer."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from facekp.models.stride import STRIDE

HEAD_CHANNELS = 64


class Heads(NamedTuple):
    """The score maps of a network, each (N, C, h, w) float at its own resolution.

    Attributes:
        predict: the maps whose upsampled sum is the prediction (`fuse`).
        auxiliary: the maps that only help training; empty if they were skipped.
    """

    predict: tuple[Tensor, ...]
    auxiliary: tuple[Tensor, ...] = ()

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """All score maps: those that predict, then the auxiliary ones."""
        return self.predict + self.auxiliary


def fuse(scores: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Upsample every score map (N, C, h, w) float bilinearly to `size` (H, W) and add them up.

    Returns:
        (N, C, H, W) float32 (float64 for float64 scores).
    """
    maps = [s if s.dtype.itemsize >= 4 else s.float() for s in scores]
    first, *rest = [F.interpolate(s, size=size, mode="bilinear", align_corners=False) for s in maps]
    return sum(rest, start=first)


class OutputHead(nn.Sequential):
    """The paper's "ResNet output layer", (N, in_channels, h, w) to (N, classes, h, w) float.

    A basic block that narrows to 64 channels, a 3x3 and a 1x1 convolution.
    """

    def __init__(self, in_channels: int, classes: int = 19) -> None:
        from torchvision.models.resnet import BasicBlock  # takes two seconds, and the shipped network has none

        narrow = nn.Sequential(nn.Conv2d(in_channels, HEAD_CHANNELS, 1, bias=False), nn.BatchNorm2d(HEAD_CHANNELS))
        last = nn.Conv2d(HEAD_CHANNELS, classes, 1)
        super().__init__(
            BasicBlock(in_channels, HEAD_CHANNELS, downsample=narrow),
            nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(HEAD_CHANNELS),
            nn.ReLU(inplace=True),
            last,
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(last.get_parameter("bias"))


def check_input(images: Tensor) -> None:
    """Raise ValueError unless `images` is (N, 3, H, W) with H and W multiples of 32."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % STRIDE or images.shape[3] % STRIDE:
        raise ValueError(f"images have shape {tuple(images.shape)}: need (N, 3, H, W), H and W multiples of {STRIDE}")

"""EfficientNet-Lite0 as a feature extractor: timm's network in plain torch, which the shipped weights load into.

timm imports all its networks, torchvision and torch's compiler, which takes longer than parsing a photo.
"""

import math
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

NAME: Final = "tf_efficientnet_lite0"  # timm's name of the network; parameters have timm's names too
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # how its published weights expect an image, 0..1, to be normalised
STAGES: Final = ((2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))
"""Blocks, kernel, stride of the first block, and channels of each stage after the first."""
LAST: Final = {4: 1, 8: 2, 16: 4, 32: 6}  # the last stage at each stride, whose features are returned
EPS: Final = 1e-3  # TensorFlow's


class EfficientNetLite0(nn.Module):
    """The network without its classifier.

    Padding is symmetric, so that it does not depend on the image size as TensorFlow's does.

    Shape:
        images: (N, 3, H, W) float, normalised by `MEAN` and `STD`; H and W multiples of 32.
        Returns: (N, 24, H/4, W/4) if `finest` is 4, (N, 40, H/8, W/8), (N, 112, H/16, W/16), (N, 320, H/32, W/32).

    Reference: Tan and Le 2019, arXiv:1905.11946; the Lite variant, github.com/tensorflow/tpu, efficientnet/lite.
    """

    def __init__(self, finest: int = 8) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = _conv(3, 32, 3, stride=2), nn.BatchNorm2d(32, eps=EPS)
        stages, width = [nn.Sequential(DepthwiseSeparable(32, 16))], 16
        for blocks, kernel, stride, channels in STAGES:
            rest = (InvertedResidual(channels, channels, kernel) for _ in range(blocks - 1))
            stages.append(nn.Sequential(InvertedResidual(width, channels, kernel, stride), *rest))
            width = channels
        self.blocks = nn.Sequential(*stages)
        self.picked = [stage for stride, stage in LAST.items() if stride >= finest]
        self.channels = tuple(STAGES[stage - 1][-1] for stage in self.picked)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.kernel_size[0] ** 2 * layer.out_channels // layer.groups
                nn.init.normal_(layer.weight, 0, math.sqrt(2 / fan_out))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features of `images`, finest first."""
        x = F.relu6(self.bn1(self.conv_stem(images)), inplace=True)
        features = []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i in self.picked:
                features.append(x)
        return features


class DepthwiseSeparable(nn.Module):
    """The block of the first stage: (N, C, H, W) to (N, `channels`, H, W)."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv_dw, self.bn1 = _conv(width, width, 3, groups=width), nn.BatchNorm2d(width, eps=EPS)
        self.conv_pw, self.bn2 = _conv(width, channels, 1), nn.BatchNorm2d(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        narrowed: Tensor = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)), inplace=True)))
        return narrowed


class InvertedResidual(nn.Module):
    """A block that computes in six times its input's channels: (N, C, H, W) to (N, `channels`, H/`stride`, W/`stride`).

    Reference: Sandler et al. 2018, arXiv:1801.04381.
    """

    def __init__(self, width: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        wide = 6 * width
        self.conv_pw, self.bn1 = _conv(width, wide, 1), nn.BatchNorm2d(wide, eps=EPS)
        self.conv_dw, self.bn2 = _conv(wide, wide, kernel, stride, groups=wide), nn.BatchNorm2d(wide, eps=EPS)
        self.conv_pwl, self.bn3 = _conv(wide, channels, 1), nn.BatchNorm2d(channels, eps=EPS)
        self.residual = stride == 1 and width == channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features."""
        wide = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        wide = F.relu6(self.bn2(self.conv_dw(wide)), inplace=True)
        narrowed: Tensor = self.bn3(self.conv_pwl(wide))
        return narrowed + x if self.residual else narrowed


def _conv(width: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)

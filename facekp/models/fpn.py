"""ResNet18 with a feature pyramid, which adds coarse features to finer ones before the first decision."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from facekp.models.heads import Heads, check_input
from facekp.models.layers import conv, conv_norm_relu, plain_head
from facekp.models.registry import register
from facekp.models.resnet import OnResNet18

WIDTH = 96
HEAD_WIDTH = 64


@register("fpn")
class FeaturePyramid(OnResNet18):
    """ResNet18's last three stages, added up from coarse to fine; the finest sum predicts, the others are auxiliary.

    A projection of the coarsest stage's mean over the image is added to it, which gives every pixel global context.

    Shape:
        images: (N, 3, H, W) float, normalised; H and W multiples of 32.
        Returns: (N, 19, H/8, W/8) predicts; auxiliary are (N, 19, H/16, W/16) and (N, 19, H/32, W/32).

    Args:
        pretrained: False for random weights, "imagenet" for torchvision's trunk (a download of 45 MB).

    Reference: Lin et al. 2017, arXiv:1612.03144; the mean over the image, Liu et al. 2015, arXiv:1506.04579.
    """

    head_names = ("8", "16", "32")
    head_parts = ("laterals", "context", "smooth", "heads")

    def __init__(self, pretrained: Literal[False, "imagenet"] = False) -> None:
        super().__init__(pretrained)
        self.laterals = nn.ModuleList(
            nn.Sequential(conv(channels, WIDTH, 1), nn.BatchNorm2d(WIDTH)) for channels in (128, 256, 512)
        )
        self.context = conv(512, WIDTH, 1)
        self.smooth = nn.ModuleList(conv_norm_relu(WIDTH, WIDTH, 3) for _ in range(3))
        self.heads = nn.ModuleList(plain_head(WIDTH, HEAD_WIDTH) for _ in range(3))

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score map at stride 8 and the auxiliary ones at strides 16 and 32."""
        check_input(images)
        at8, at16, at32 = self.features(images)
        lateral8, lateral16, lateral32 = self.laterals
        smooth8, smooth16, smooth32 = self.smooth
        coarse = smooth32(lateral32(at32) + self.context(F.adaptive_avg_pool2d(at32, 1)))
        middle = smooth16(lateral16(at16) + _doubled(coarse))
        fine = smooth8(lateral8(at8) + _doubled(middle))
        head8, head16, head32 = self.heads
        return Heads((head8(fine),), (head16(middle), head32(coarse)) if auxiliary else ())


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)

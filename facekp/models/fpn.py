"""Feature pyramid network: coarse features are added to finer ones before any scores are computed."""

import torch.nn.functional as F
from torch import Tensor, nn

from facekp.models.heads import Heads, check_input
from facekp.models.layers import conv, conv_norm_relu, plain_head
from facekp.models.registry import Network, register
from facekp.models.trunks import build_trunk

WIDTH, HEAD_WIDTH = 96, 64
SLIM = 48  # width at stride 4, where a map has four times as many pixels as at stride 8


@register("fpn")
class FeaturePyramid(Network):
    """A trunk's stages, added up from coarse to fine; the finest sum predicts, the others are auxiliary.

    A projection of the coarsest stage's global mean is added to it, which gives every pixel global context.

    Shape:
        images: (N, 3, H, W) float, normalised; H and W multiples of 32.
        Returns: (N, C, H/s, W/s) for each stride s from `finest` to 32; the first predicts.

    Args:
        trunk: "resnet18", or a network of timm (see `build_trunk`).
        pretrained: False for random weights; "imagenet"; or, for a network of timm, a file.
        finest: stride of the map that predicts, 4 or 8.
        classes: C, the number of classes.

    Reference: Lin et al. 2017, arXiv:1612.03144; the mean over the image, Liu et al. 2015, arXiv:1506.04579.
    """

    head_parts = ("laterals", "context", "narrow", "smooth", "heads")

    def __init__(
        self, trunk: str = "resnet18", pretrained: bool | str = False, finest: int = 8, classes: int = 19
    ) -> None:
        super().__init__()
        self.trunk = build_trunk(trunk, pretrained, finest)
        channels = self.trunk.channels
        self.head_names = ("4", "8", "16", "32")[-len(channels) :]
        widths = [SLIM if name == "4" else WIDTH for name in self.head_names]
        self.laterals = nn.ModuleList(
            nn.Sequential(conv(c, width, 1), nn.BatchNorm2d(width)) for c, width in zip(channels, widths, strict=True)
        )
        self.context = conv(channels[-1], WIDTH, 1)
        self.narrow = nn.Sequential(conv(WIDTH, SLIM, 1), nn.BatchNorm2d(SLIM)) if finest == 4 else nn.Identity()
        self.smooth = nn.ModuleList(conv_norm_relu(width, width, 3) for width in widths)
        self.heads = nn.ModuleList(plain_head(width, min(width, HEAD_WIDTH), classes) for width in widths)

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score map at the finest stride and the auxiliary ones at the others."""
        check_input(images)
        features = self.trunk(images)
        mean = F.adaptive_avg_pool2d(features[-1], 1)
        stage = self.smooth[-1](self.laterals[-1](features[-1]) + self.context(mean))
        stages = [stage]
        for i in reversed(range(len(features) - 1)):
            above = self.narrow(stage) if i == 0 else stage
            above = F.interpolate(above, scale_factor=2.0, mode="bilinear", align_corners=False)
            stage = self.smooth[i](self.laterals[i](features[i]) + above)
            stages.insert(0, stage)
        heads = self.heads if auxiliary else self.heads[:1]
        maps = tuple(head(stage) for head, stage in zip(heads, stages, strict=False))
        return Heads(maps[:1], maps[1:])

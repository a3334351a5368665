"""BiSeNet on ResNet18, the network that most public face parsers use.

Details that the paper leaves open follow those parsers: 128 channels in the context path, nearest-neighbour
upsampling, a squeeze to a quarter in the fusion, and auxiliary heads of 64 channels.

Reference: Yu et al. 2018, arXiv:1808.00897, whose sections and figures the classes cite.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekp.models.heads import Heads, check_input
from facekp.models.layers import conv, conv_norm_relu, plain_head
from facekp.models.registry import Network, register
from facekp.models.resnet import Stem, resnet18_trunk


class AttentionRefinement(nn.Module):
    """Attention refinement: narrow the features, then weight the channels by attention from their means over the image.

    Training needs N of at least 2, because batch-norm sees one value per image.

    Reference: section 3.2, figure 2b.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.narrow = conv_norm_relu(c_in, c_out, 3)
        self.weigh = nn.Sequential(conv(c_out, c_out, 1), nn.BatchNorm2d(c_out), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, c_in, h, w) to (N, c_out, h, w)."""
        x = self.narrow(x)
        refined: Tensor = x * self.weigh(F.adaptive_avg_pool2d(x, 1))  # weights (N, c_out, 1, 1)
        return refined


class ContextPath(nn.Module):
    """ResNet18; its global mean and its last two stages, refined, are added up from coarse to fine.

    Reference: section 3.2.
    """

    def __init__(self, pretrained: Literal[False, "imagenet"]) -> None:
        super().__init__()
        trunk = resnet18_trunk(pretrained)
        self.stem = nn.Sequential(Stem(trunk), trunk.layer1, trunk.layer2)
        self.layer3, self.layer4 = trunk.layer3, trunk.layer4
        self.refine16, self.refine32 = AttentionRefinement(256, 128), AttentionRefinement(512, 128)
        self.tail = conv_norm_relu(512, 128, 1)
        self.smooth16, self.smooth32 = conv_norm_relu(128, 128, 3), conv_norm_relu(128, 128, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the full sum (N, 128, H/8, W/8), and that of only the last stage and the mean (N, 128, H/16, W/16)."""
        at16 = self.layer3(self.stem(images))
        at32 = self.layer4(at16)
        mean = self.tail(F.adaptive_avg_pool2d(at32, 1))  # (N, 128, 1, 1)
        coarse = self.smooth32(F.interpolate(self.refine32(at32) + mean, scale_factor=2.0, mode="nearest"))
        fine = self.smooth16(F.interpolate(self.refine16(at16) + coarse, scale_factor=2.0, mode="nearest"))
        return fine, coarse


class FeatureFusion(nn.Module):
    """Join both paths, and add to each joint channel its product with an attention weight from the whole image.

    Reference: section 3.3, figure 2c.
    """

    def __init__(self) -> None:
        super().__init__()
        self.join = conv_norm_relu(256, 256, 1)
        self.weigh = nn.Sequential(conv(256, 64, 1), nn.ReLU(inplace=True), conv(64, 256, 1), nn.Sigmoid())

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Map two tensors (N, 128, h, w) to (N, 256, h, w)."""
        joint: Tensor = self.join(torch.cat([detail, context], dim=1))
        weights: Tensor = self.weigh(F.adaptive_avg_pool2d(joint, 1))  # (N, 256, 1, 1)
        return joint + joint * weights


@register("bisenet")
class BiSeNet(Network):
    """BiSeNet on ResNet18: one head predicts, and two on the context path are auxiliary.

    Shape:
        images: (N, 3, H, W) float, normalised; H and W multiples of 32; in training, N at least 2.
        Returns: one map that predicts, (N, C, H/8, W/8), and two auxiliary ones, (N, C, H/8, W/8) and
        (N, C, H/16, W/16), from the features refined at strides 16 and 32 and then upsampled.

    Args:
        pretrained: False for random weights, "imagenet" for torchvision's trunk; see `resnet18_trunk`.
        classes: C, the number of classes.
    """

    head_names = ("main", "aux16", "aux32")
    head_parts = ("fusion", "heads")

    def __init__(self, pretrained: Literal[False, "imagenet"] = False, classes: int = 19) -> None:
        super().__init__()
        self.context = ContextPath(pretrained)
        self.spatial = nn.Sequential(
            conv_norm_relu(3, 64, 7, stride=2),
            conv_norm_relu(64, 64, 3, stride=2),
            conv_norm_relu(64, 64, 3, stride=2),
            conv_norm_relu(64, 128, 1),
        )
        self.fusion = FeatureFusion()
        self.heads = nn.ModuleList(plain_head(*widths, classes) for widths in ((256, 256), (128, 64), (128, 64)))

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the main score map and the auxiliary ones."""
        check_input(images)
        fine, coarse = self.context(images)
        main, aux16, aux32 = self.heads
        scores = main(self.fusion(self.spatial(images), fine))
        return Heads((scores,), (aux16(fine), aux32(coarse)) if auxiliary else ())

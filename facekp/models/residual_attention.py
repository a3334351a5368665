"""The paper's baseline: a Residual Attention Network with the same three heads.

The variant is Attention-92 for inputs of 448 pixels: one more attention stage than at 224, at stride 4.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from facekp.models.heads import Heads, OutputHead, check_input
from facekp.models.registry import Network, register


def _norm_relu_conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
    return [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), conv]


class Bottleneck(nn.Module):
    """Pre-activation bottleneck: 1x1, 3x3, 1x1, each after batch-norm and ReLU; `c_out / 4` channels inside.

    Reference: He et al. 2016, arXiv:1603.05027.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        inner = c_out // 4
        # The first activation is shared with the shortcut, so it is a separate module and must not write in place.
        self.activate = nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(c_in, inner, 1, bias=False),
            *_norm_relu_conv(inner, inner, 3, stride),
            *_norm_relu_conv(inner, c_out, 1),
        )
        same = c_in == c_out and stride == 1
        self.shortcut = None if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, c_in, h, w) to (N, c_out, h/stride, w/stride)."""
        active = self.activate(x)
        out: Tensor = self.residual(active) + (x if self.shortcut is None else self.shortcut(active))
        return out


class DownUp(nn.Module):
    """One level of the mask branch: downsample, process (deeper levels are nested inside), upsample again."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.down = Bottleneck(channels, channels)
        self.inner = DownUp(channels, levels - 1) if levels > 1 else None
        self.skip = Bottleneck(channels, channels) if levels > 1 else None
        self.up = Bottleneck(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the context of `x` (N, channels, h, w) float, in the same shape."""
        low = self.down(F.max_pool2d(x, 3, stride=2, padding=1))
        if self.inner is not None and self.skip is not None:
            low = self.inner(low) + self.skip(low)
        return F.interpolate(self.up(low), size=x.shape[-2:], mode="bilinear", align_corners=False)


class AttentionModule(nn.Module):
    """Attention residual learning, `(1 + M) * T`, with p = 1, t = 2, r = 1 units.

    T is the trunk branch (two bottlenecks), M the mask branch (`levels` of `DownUp`, two 1x1 convolutions, sigmoid).

    Reference: Wang et al. 2017, arXiv:1704.06904, section 3.1, formula 3.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.before = Bottleneck(channels, channels)
        self.trunk = nn.Sequential(Bottleneck(channels, channels), Bottleneck(channels, channels))
        self.mask = nn.Sequential(
            DownUp(channels, levels),
            *_norm_relu_conv(channels, channels, 1),
            *_norm_relu_conv(channels, channels, 1),
            nn.Sigmoid(),
        )
        self.after = Bottleneck(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended features of `x` (N, channels, h, w) float, in the same shape."""
        x = self.before(x)
        out: Tensor = self.after((1 + self.mask(x)) * self.trunk(x))
        return out


@register("residual_attention")
class ResidualAttention(Network):
    """Residual Attention Network (Attention-92, 448-pixel variant) with three score heads.

    Shape:
        images: (N, 3, H, W) float, normalised; H and W multiples of 32.
        Returns: three maps that predict, (N, C, H/8, W/8), (N, C, H/16, W/16), (N, C, H/32, W/32).

    Args:
        classes: C, the number of classes.

    Reference: Wang et al. 2017, arXiv:1704.06904, table 2.
    """

    head_names = ("8", "16", "32")

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            Bottleneck(64, 128),
            AttentionModule(128, levels=4),
        )
        self.stage1 = nn.Sequential(Bottleneck(128, 256, stride=2), AttentionModule(256, levels=3))
        self.stage2 = nn.Sequential(Bottleneck(256, 512, stride=2), *(AttentionModule(512, levels=2) for _ in range(2)))
        self.stage3 = nn.Sequential(
            Bottleneck(512, 1024, stride=2), *(AttentionModule(1024, levels=1) for _ in range(3))
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.heads = nn.ModuleList(OutputHead(channels, classes) for channels in (256, 512, 1024))

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score maps at strides 8, 16 and 32; all of them predict."""
        check_input(images)
        at8 = self.stage1(self.stem(images))
        at16 = self.stage2(at8)
        features = at8, at16, self.stage3(at16)
        return Heads(tuple(head(at) for head, at in zip(self.heads, features, strict=True)))

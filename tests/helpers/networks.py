"""Networks without weights, and made-up parts of them."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from facekp.models import Heads, Network, build_model
from facekp.models.heads import OutputHead

TRUNK_COST = 4 * (1_814_073_344 - 512_000)
"""Multiply-adds of ResNet18's convolutions at 448: four times those at 224, less the classifier's."""
TRUNK_PARAMETERS = 11_689_512 - 513_000
"""torchvision's ResNet18 without the classifier."""


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def on_meta(name: str) -> Network:
    if name == "smp":
        pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        return build_model(name)


class Toy(Network):
    """The heads of `resnet18` on a trunk of three convolutions: runs of a few steps take a quarter of the time."""

    head_names = ("8", "16", "32")

    def __init__(self, pretrained: bool = False, classes: int = 19) -> None:
        super().__init__()
        layers = [(3, 8), (16, 2), (16, 2)]  # channels before, stride
        self.trunk = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, 16, stride + 1, stride, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            for before, stride in layers
        )
        self.heads = nn.ModuleList(OutputHead(16, classes) for _ in layers)

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        maps, at = [], images
        for layer, head in zip(self.trunk, self.heads, strict=True):
            at = layer(at)
            maps.append(head(at))
        return Heads(tuple(maps))


class Constant(nn.Module):
    """A branch that gives `function` of its input."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def moved_trunk() -> nn.Module:
    """Return torchvision's ResNet18 with batch-norms that change what they see, so that none can be missed."""
    trunk = torchvision.models.resnet18(weights=None).eval()
    for layer in trunk.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return trunk

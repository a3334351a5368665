"""The one place that turns a network's name into a network."""

import inspect
from collections.abc import Callable
from typing import ClassVar, TypeVar

from torch import nn

from facekp.errors import ConfigError


class Network(nn.Module):
    """What every network here is: a module that gives one score map a head (see `build_model`) and names its heads.

    Attributes:
        head_names: what logs call the heads, in the order of the score maps.
        head_parts: names of the submodules that learn at the heads' rate (`optim.head_lr_mult`).
        predicting: how many heads, from the first, predict; None: all. The others only help training.
    """

    head_names: ClassVar[tuple[str, ...]]
    head_parts: ClassVar[tuple[str, ...]] = ("heads",)
    predicting: ClassVar[int | None] = None


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
        A module with `model(images: (N, 3, H, W) float) -> tuple of score maps (N, 19, h, w)`, each at a resolution of
        its own; H and W are multiples of 32. The prediction is their upsampled sum (`fuse`).

        In training mode there is one map for each of `model.head_names`. In evaluation mode a network leaves out, from
        the end, what only helps training; the main head comes first and is always there. `resnet18` and
        `residual_attention` give three maps in both modes, at strides 8, 16 and 32.

    Raises:
        ConfigError: an unknown name or setting, or a value that the network refuses.

    Example:
        >>> scores = build_model("resnet18").eval()(__import__("torch").zeros(1, 3, 64, 96))
        >>> [tuple(s.shape) for s in scores]
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

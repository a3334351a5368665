"""The one place that turns a network's name into a network."""

import inspect
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from facekp.errors import ConfigError

_NETWORKS: dict[str, type[nn.Module]] = {}
NetworkT = TypeVar("NetworkT", bound=type[nn.Module])


def register(name: str) -> Callable[[NetworkT], NetworkT]:
    """Make a network class available to `build_model` and to `model=name`."""

    def add(network: NetworkT) -> NetworkT:
        _NETWORKS[name] = network
        return network

    return add


def model_names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted(_NETWORKS)


def build_model(name: str, **kwargs: object) -> nn.Module:
    """Build a registered network.

    Args:
        name: one of `model_names()`.
        kwargs: the network's own settings.

    Returns:
        A module with `model(images: (N, 3, H, W) float) -> (scores8, scores16, scores32)`, each (N, 19, H/s, W/s) at
        strides 8, 16 and 32; H and W are multiples of 32.

    Raises:
        ConfigError: an unknown name or setting, or a value that the network refuses.

    Example:
        >>> scores = build_model("resnet18").eval()(__import__("torch").zeros(1, 3, 64, 96))
        >>> [tuple(s.shape) for s in scores]
        [(1, 19, 8, 12), (1, 19, 4, 6), (1, 19, 2, 3)]
    """
    if name not in _NETWORKS:
        raise ConfigError(f"model.name is '{name}': choose one of {', '.join(model_names())}")
    network = _NETWORKS[name]
    known = list(inspect.signature(network).parameters)
    for key in kwargs:
        if key not in known:
            raise ConfigError(f"model.{key} is not a setting of {name}: it has {', '.join(known) or 'none'}")
    return network(**kwargs)

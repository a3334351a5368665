"""Registry of networks, and their common interface."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from facekp.errors import require
from facekp.models.heads import Heads
from facekp.registry import Registry, parameters_of


class Network(nn.Module, ABC):
    """Base class of all networks: one score map per head, the same heads in training and evaluation mode.

    Attributes:
        head_names: names of the heads in logs: those that predict, then the auxiliary ones.
        head_parts: names of the submodules that learn at the heads' rate (`optim.head_lr_mult`).
    """

    head_names: tuple[str, ...]
    head_parts: ClassVar[tuple[str, ...]] = ("heads",)
    __call__: Callable[..., Heads]  # typed here, since nn.Module leaves it open

    @abstractmethod
    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score maps.

        Args:
            images: (N, 3, H, W) float, normalised; H and W multiples of 32.
            auxiliary: False skips the heads that only help training, which makes prediction cheaper.
        """


NETWORKS = Registry[type[Network]]("model.name", "facekp.models")
register = NETWORKS.register  # decorator that makes a network class available to `build_model` and to `model=NAME`

model_names = NETWORKS.names  # the registered names, sorted


def build_model(name: str, *, classes: int = 19, **kwargs: object) -> Network:
    """Build a registered network.

    The prediction is the upsampled sum of `heads.predict` (`fuse`); `heads.auxiliary` only helps training. `resnet18`
    and `residual_attention` predict with three maps, at strides 8, 16 and 32.

    Args:
        name: one of `model_names()`.
        classes: number of classes.
        kwargs: the network's own settings.

    Raises:
        ConfigError: an unknown name or setting, a value that the network rejects, or a network of one's own whose
            `__init__` does not take `classes`, if they are not 19.

    Example:
        >>> import torch
        >>> heads = build_model("resnet18").eval()(torch.zeros(1, 3, 64, 96))
        >>> [tuple(scores.shape) for scores in heads.predict]
        [(1, 19, 8, 12), (1, 19, 4, 6), (1, 19, 2, 3)]
    """
    takes = "classes" in parameters_of(NETWORKS[name])
    require("model.name", name, takes or classes == 19, f"add `classes` to its __init__, to have {classes} of them")
    network: Network = NETWORKS.build(name, kwargs, **({"classes": classes} if takes else {}))
    return network


def build_without_weights(name: str, *, classes: int = 19, **kwargs: object) -> Network:
    """Build a network as `build_model` does, but without published weights, for callers that load others or none."""
    return build_model(name, classes=classes, **kwargs | ({"pretrained": False} if "pretrained" in kwargs else {}))


def multiply_adds(model: nn.Module, size: int = 448) -> int:
    """Return the multiply-adds of one prediction for (1, 3, size, size); the model must be on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        predict = {"auxiliary": False} if isinstance(model, Network) else {}
        model.eval()(torch.empty(1, 3, size, size), **predict)
    return int(counter.get_total_flops()) // 2

"""Parameters and multiply-adds of a network."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from facekp.models.registry import Network

SIZE = 448
"""Side in pixels of the images that published figures refer to."""


def multiply_adds(model: nn.Module, size: int = SIZE) -> int:
    """Return the multiply-adds of predicting one (1, 3, size, size) image; the model is on the meta device."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        predict = {"auxiliary": False} if isinstance(model, Network) else {}
        model.eval()(torch.empty(1, 3, size, size), **predict)
    return int(counter.get_total_flops()) // 2


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable and frozen parameters."""
    return sum(p.numel() for p in model.parameters())

"""Multiply-adds of a network."""

import torch
from torch import nn

from facekp.models.registry import Network


def multiply_adds(model: nn.Module, size: int = 448) -> int:
    """Return the multiply-adds of one prediction for (1, 3, size, size); the model must be on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        predict = {"auxiliary": False} if isinstance(model, Network) else {}
        model.eval()(torch.empty(1, 3, size, size), **predict)
    return int(counter.get_total_flops()) // 2

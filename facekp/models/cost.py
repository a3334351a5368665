"""What a network costs, whatever it runs on."""

import torch
from torch.utils.flop_counter import FlopCounterMode

SIZE = 448
"""Side in pixels of the images that published figures are for."""


def multiply_adds(model: torch.nn.Module, size: int = SIZE) -> int:
    """Return the multiply-adds of one (1, 3, size, size) image; the model is on the meta device."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, size, size))
    return int(counter.get_total_flops()) // 2


def count_parameters(model: torch.nn.Module) -> int:
    """Return how many numbers training sets."""
    return sum(p.numel() for p in model.parameters())

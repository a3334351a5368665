"""SGD and AdamW."""

from typing import Any

import torch
from torch.optim import SGD, AdamW

from facekp.training.optim.build import register_optimizer


@register_optimizer("sgd")
def sgd(groups: list[dict[str, Any]], lr: float, *, momentum: float = 0.9, fused: bool = True) -> SGD:
    """Return SGD over parameter groups, as in the paper; `fused` is one kernel for all parameters."""
    optimizer = SGD(groups, lr=lr, momentum=momentum, fused=fused)
    # If a gradient scaler skips the first step, as it often does in 16-mixed, torch's fused SGD would leave momentum in
    # memory that nothing has written, and the weights become NaN. From zeros, the first step is the same.
    for p in (p for group in optimizer.param_groups for p in group["params"] if fused and momentum):
        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


@register_optimizer("adamw")
def adamw(
    groups: list[dict[str, Any]], lr: float, *, beta1: float = 0.9, beta2: float = 0.999, fused: bool = True
) -> AdamW:
    """Return AdamW; `beta1` and `beta2` are the decays of the averages of the gradients and their squares.

    Reference: Loshchilov and Hutter 2017, arXiv:1711.05101.
    """
    return AdamW(groups, lr=lr, betas=(beta1, beta2), fused=fused)

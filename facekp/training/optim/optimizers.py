"""SGD and AdamW."""

from typing import Any

from torch.optim import SGD, AdamW

from facekp.training.optim.build import register_optimizer


@register_optimizer("sgd")
def sgd(groups: list[dict[str, Any]], lr: float, *, momentum: float = 0.9, fused: bool = True) -> SGD:
    """Return SGD over parameter groups, as in the paper; `fused` is one kernel for all parameters."""
    return SGD(groups, lr=lr, momentum=momentum, fused=fused)


@register_optimizer("adamw")
def adamw(
    groups: list[dict[str, Any]], lr: float, *, beta1: float = 0.9, beta2: float = 0.999, fused: bool = True
) -> AdamW:
    """Return AdamW; `beta1` and `beta2` are the decays of the averages of the gradients and their squares.

    Reference: Loshchilov and Hutter 2017, arXiv:1711.05101.
    """
    return AdamW(groups, lr=lr, betas=(beta1, beta2), fused=fused)

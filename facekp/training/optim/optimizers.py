"""SGD and AdamW."""

from typing import Any

from torch.optim import SGD, AdamW

from facekp.training.optim.build import register_optimizer


@register_optimizer("sgd")
def sgd(groups: list[dict[str, Any]], lr: float, *, momentum: float = 0.9, fused: bool = True) -> SGD:
    """Return SGD over parameter groups, as in the paper.

    Args:
        groups: parameter groups.
        lr: base learning rate.
        momentum: share of the last update that is added to the next.
        fused: one kernel for all parameters.
    """
    return SGD(groups, lr=lr, momentum=momentum, fused=fused)


@register_optimizer("adamw")
def adamw(
    groups: list[dict[str, Any]], lr: float, *, beta1: float = 0.9, beta2: float = 0.999, fused: bool = True
) -> AdamW:
    """Return AdamW over parameter groups.

    Args:
        groups: parameter groups.
        lr: base learning rate.
        beta1: decay of the gradients' average.
        beta2: decay of the squared gradients' average.
        fused: one kernel for all parameters.

    Reference: Loshchilov and Hutter 2017, arXiv:1711.05101.
    """
    return AdamW(groups, lr=lr, betas=(beta1, beta2), fused=fused)

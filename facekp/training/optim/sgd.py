"""Stochastic gradient descent with momentum, as the paper trains."""

from typing import Any

from torch.optim import SGD

from facekp.training.optim.build import register_optimizer


@register_optimizer("sgd")
def sgd(groups: list[dict[str, Any]], lr: float, *, momentum: float = 0.9, fused: bool = True) -> SGD:
    """Return SGD over parameter groups.

    Args:
        groups: parameter groups.
        lr: base learning rate.
        momentum: share of the last update that is added to the next.
        fused: one kernel for all parameters.
    """
    return SGD(groups, lr=lr, momentum=momentum, fused=fused)

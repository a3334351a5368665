"""SGD as the paper trains: which parameters decay, and the learning rate of every step."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.optim import SGD


@dataclass(frozen=True)
class PolySchedule:
    """Warm-up, then polynomial decay, as a factor of the base rate.

    Steps `i < warmup_steps`: geometric from `warmup_start` to `base`; after: `base * (1 - i / total_steps) ** power`.

    Args:
        base: learning rate that the factor multiplies.
        total_steps: optimiser steps of the whole run.
        warmup_steps: steps of warm-up; 0 for none.
        warmup_start: learning rate of step 0.
        power: exponent of the decay.

    Reference: BiSeNet, arXiv:1808.00897, section 4.1.

    Example:
        >>> schedule = PolySchedule(base=1e-2, total_steps=4000)
        >>> [round(1e-2 * schedule(i), 8) for i in (0, 50, 100, 2000)]
        [1e-05, 0.00031623, 0.00977472, 0.00535887]
    """

    base: float
    total_steps: int
    warmup_steps: int = 100
    warmup_start: float = 1e-5
    power: float = 0.9

    def __call__(self, step: int) -> float:
        """Return the factor at `step`, 0-based."""
        if step < self.warmup_steps:
            start = self.warmup_start / self.base
            return float(start ** (1 - step / self.warmup_steps))
        return float(max(0.0, 1 - step / self.total_steps) ** self.power)


def build_sgd(
    net: nn.Module,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    head_lr_mult: float = 1.0,
    heads: Sequence[str] = ("heads",),
    fused: bool = True,
) -> SGD:
    """Return SGD over `net`'s parameters in four groups: trunk and heads, each with and without weight decay.

    Matrices and kernels decay; biases and batch-norm's scale and shift, which have one dimension, do not.

    Args:
        net: the network.
        lr: base learning rate.
        momentum: momentum of SGD.
        weight_decay: L2 factor of the parameters that decay.
        head_lr_mult: the heads' learning rate is `lr` times this.
        heads: names of the submodules of `net` that are heads (`Network.head_parts`).
        fused: one kernel for all parameters; under a gradient scaler it rules out clipping.
    """
    prefixes = tuple(f"{name}." for name in heads)
    groups = []
    for in_head, rate in ((False, lr), (True, lr * head_lr_mult)):
        for decays, decay in ((True, weight_decay), (False, 0.0)):
            parameters = [
                p
                for name, p in net.named_parameters()
                if p.requires_grad and name.startswith(prefixes) == in_head and (p.ndim > 1) == decays
            ]
            if parameters:
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return SGD(groups, lr=lr, momentum=momentum, fused=fused)

"""The optimiser and the learning-rate schedule of the `optim` settings: SGD and AdamW, polynomial and cosine decay."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from facekp.config import SharedOptimConfig
from facekp.registry import Registry, checked_settings, parameters_of

Groups = list[dict[str, Any]]
Factor = Callable[[float], float]  # from a step, 0-based, fractional under a time limit, to a factor of the base rate

OPTIMIZERS = Registry[Callable[..., Optimizer]]("optim.name", "facekp.training.optim")
register_optimizer = OPTIMIZERS.register
"""Decorator for a function `(groups, lr, *, fused, ITS SETTINGS) -> Optimizer` of the parameter groups."""

SCHEDULES = Registry[Callable[..., Factor]]("optim.schedule", "facekp.training.optim")
register_schedule = SCHEDULES.register
"""Decorator for a function `(total_steps, ITS SETTINGS) -> Factor`; `build_optimizer` adds the warm-up."""


def build_optimizer(
    net: nn.Module,
    settings: Mapping[str, Any],
    progress: Callable[[int], float] = float,
    *,
    total_steps: int,
    heads: Sequence[str] = ("heads",),
    fused: bool = True,
) -> tuple[Optimizer, LambdaLR]:
    """Return the optimiser of `net` and its schedule, which advances with every step and begins with a warm-up.

    Args:
        net: the network.
        settings: `SharedOptimConfig`, and the settings of the optimiser and the schedule that it names.
        progress: the step at which the decay is taken, from 0 to `total_steps`, at an optimiser step.
        total_steps: optimiser steps of the whole run.
        heads: names of the submodules of `net` that are heads (`Network.head_parts`).
        fused: use one kernel for all parameters; incompatible with clipping under a gradient scaler.

    Raises:
        ConfigError: an unknown name or setting, or a value of the wrong type or out of range.
    """
    names = SharedOptimConfig(**{key: settings[key] for key in ("name", "schedule") if key in settings})
    optimizer, schedule = OPTIMIZERS[names.name], SCHEDULES[names.schedule]
    shared = parameters_of(SharedOptimConfig)
    of_optimizer = parameters_of(optimizer, without=("groups", "lr", "fused"))
    of_schedule = parameters_of(schedule, without=("total_steps",))
    owner = f"{names.name} with {names.schedule}"
    values = checked_settings("optim", owner, {**shared, **of_optimizer, **of_schedule}, settings)

    shared_values, own, decays = (
        {key: value for key, value in values.items() if key in known} for known in (shared, of_optimizer, of_schedule)
    )
    c = SharedOptimConfig(**shared_values)
    built = optimizer(parameter_groups(net, heads, c), c.lr, fused=fused, **own)
    decay = schedule(total_steps, **decays)

    # A function, not an object: checkpoints would store the object's attributes, and must hold only plain data.
    def factor(step: int) -> float:
        if step >= c.warmup_steps:
            return decay(progress(step))
        return float((c.warmup_start / c.lr) ** (1 - step / c.warmup_steps))

    return built, LambdaLR(built, factor)


def parameter_groups(net: nn.Module, heads: Sequence[str], c: SharedOptimConfig) -> Groups:
    """Return `net`'s parameters in up to four groups: trunk and heads, each with and without weight decay.

    Matrices and kernels decay; biases and batch-norm's scale and shift, which have one dimension, do not.
    """
    prefixes = tuple(f"{name}." for name in heads)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, p in net.named_parameters():
        if p.requires_grad:
            groups[name.startswith(prefixes), p.ndim > 1].append(p)
    return [
        {"params": own, "lr": c.lr * (c.head_lr_mult if head else 1), "weight_decay": c.weight_decay if decays else 0.0}
        for (head, decays), own in sorted(groups.items(), key=lambda group: (group[0][0], not group[0][1]))
    ]


@register_optimizer("sgd")
def sgd(groups: Groups, lr: float, *, momentum: float = 0.9, fused: bool = True) -> SGD:
    """Return SGD over parameter groups, as in the paper; `fused` is one kernel for all parameters."""
    optimizer = SGD(groups, lr=lr, momentum=momentum, fused=fused)
    # If a gradient scaler skips the first step, as it often does in 16-mixed, torch's fused SGD would leave momentum in
    # memory that nothing has written, and the weights become NaN. From zeros, the first step is the same.
    for p in (p for group in optimizer.param_groups for p in group["params"] if fused and momentum):
        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


@register_optimizer("adamw")
def adamw(groups: Groups, lr: float, *, beta1: float = 0.9, beta2: float = 0.999, fused: bool = True) -> AdamW:
    """Return AdamW; `beta1` and `beta2` are the decays of the averages of the gradients and their squares.

    Reference: Loshchilov and Hutter 2017, arXiv:1711.05101.
    """
    return AdamW(groups, lr=lr, betas=(beta1, beta2), fused=fused)


@register_schedule("poly")
def polynomial(total_steps: int, power: float = 0.9) -> Factor:
    """Return the factor `(1 - i / total_steps) ** power` of step `i`; 0 past the end.

    Reference: BiSeNet, arXiv:1808.00897, section 4.1.

    Example:
        >>> [round(polynomial(4000)(i), 6) for i in (0, 100, 2000)]
        [1.0, 0.977472, 0.535887]
    """
    return lambda step: float(max(0.0, 1 - step / total_steps) ** power)


@register_schedule("cosine")
def cosine(total_steps: int, floor: float = 0.0) -> Factor:
    """Return half a cosine, from 1 at step 0 to `floor` at step `total_steps` and after it.

    Reference: Loshchilov and Hutter 2016, arXiv:1608.03983, formula 5.

    Example:
        >>> [round(cosine(4000)(i), 6) for i in (0, 1000, 2000, 4000)]
        [1.0, 0.853553, 0.5, 0.0]
    """
    return lambda step: floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, step / total_steps))) / 2

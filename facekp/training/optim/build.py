"""Construction of the optimiser and the learning-rate schedule from the `optim` settings."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from facekp.config import SharedOptimConfig
from facekp.registry import Registry, checked_settings, parameters_of

Factor = Callable[[float], float]
"""Factor of the base learning rate at a step, 0-based; fractions where a time limit sets the pace."""

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


def parameter_groups(net: nn.Module, heads: Sequence[str], c: SharedOptimConfig) -> list[dict[str, Any]]:
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

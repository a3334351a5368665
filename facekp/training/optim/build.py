"""Building the optimiser and the learning-rate schedule of the `optim` settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from facekp.config import SharedOptimConfig
from facekp.registry import Registry, checked_settings, parameters_of

Factor = Callable[[int], float]
"""Factor of the base learning rate at a step, 0-based."""

OPTIMIZERS = Registry[Callable[..., Optimizer]]("optim.name", "facekp.training.optim")
register_optimizer = OPTIMIZERS.register
"""Decorator for a function `(groups, lr, *, fused, ITS SETTINGS) -> Optimizer` of the parameter groups."""

SCHEDULES = Registry[Callable[..., Factor]]("optim.schedule", "facekp.training.optim")
register_schedule = SCHEDULES.register
"""Decorator for a class or function `(total_steps, ITS SETTINGS) -> Factor`; warm-up is not its concern."""


def warm_up(then: Factor, *, base: float, steps: int, start: float) -> Factor:
    """Return a schedule that begins with a geometric warm-up.

    Args:
        then: the schedule after the warm-up; it counts the steps of the warm-up too.
        base: learning rate that the factor multiplies.
        steps: steps of warm-up; 0 disables it.
        start: learning rate of step 0.
    """

    # A function, not an object: checkpoints would store the object's attributes, and may hold plain data alone.
    def factor(step: int) -> float:
        return float((start / base) ** (1 - step / steps)) if step < steps else then(step)

    return factor


def build_optimizer(
    net: nn.Module,
    settings: Mapping[str, Any],
    *,
    total_steps: int,
    heads: Sequence[str] = ("heads",),
    fused: bool = True,
) -> tuple[Optimizer, LambdaLR]:
    """Return the optimiser of `net` and its schedule, which advances with every step.

    Args:
        net: the network.
        settings: `SharedOptimConfig`, and the settings of the optimiser and the schedule that it names.
        total_steps: optimiser steps of the whole run.
        heads: names of the submodules of `net` that are heads (`Network.head_parts`).
        fused: one kernel for all parameters; under a gradient scaler it rules out clipping.

    Raises:
        ConfigError: an unknown name or setting, or a value of another type or out of its range.
    """
    names = SharedOptimConfig(**{key: settings[key] for key in ("name", "schedule") if key in settings})
    optimizer, schedule = OPTIMIZERS[names.name], SCHEDULES[names.schedule]
    shared = parameters_of(SharedOptimConfig)
    of_optimizer = parameters_of(optimizer, without=("groups", "lr", "fused"))
    of_schedule = parameters_of(schedule, without=("total_steps",))
    owner = f"{names.name} with {names.schedule}"
    values = checked_settings("optim", owner, {**shared, **of_optimizer, **of_schedule}, settings)

    def of(known: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key in known}

    c = SharedOptimConfig(**of(shared))
    groups = parameter_groups(net, heads, lr=c.lr, weight_decay=c.weight_decay, head_lr_mult=c.head_lr_mult)
    built = optimizer(groups, c.lr, fused=fused, **of(of_optimizer))
    decay = schedule(total_steps, **of(of_schedule))
    factor = warm_up(decay, base=c.lr, steps=c.warmup_steps, start=c.warmup_start)
    return built, LambdaLR(built, factor)


def parameter_groups(
    net: nn.Module, heads: Sequence[str], *, lr: float, weight_decay: float, head_lr_mult: float
) -> list[dict[str, Any]]:
    """Return `net`'s parameters in up to four groups: trunk and heads, each with and without weight decay.

    Matrices and kernels decay; biases and batch-norm's scale and shift, which have one dimension, do not.
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
    return groups

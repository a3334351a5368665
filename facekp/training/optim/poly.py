"""Polynomial decay of the learning rate."""

from dataclasses import dataclass

from facekp.training.optim.build import register_schedule


@register_schedule("poly")
@dataclass(frozen=True)
class Polynomial:
    """The factor `(1 - i / total_steps) ** power` at step `i`; 0 past the end.

    Args:
        total_steps: optimiser steps of the whole run.
        power: exponent of the decay.

    Reference: BiSeNet, arXiv:1808.00897, section 4.1.

    Example:
        >>> [round(Polynomial(4000)(i), 6) for i in (0, 100, 2000)]
        [1.0, 0.977472, 0.535887]
    """

    total_steps: int
    power: float = 0.9

    def __call__(self, step: int) -> float:
        """Return the factor at `step`, 0-based."""
        return float(max(0.0, 1 - step / self.total_steps) ** self.power)

"""Cosine decay of the learning rate."""

import math
from dataclasses import dataclass

from facekp.training.optim.build import register_schedule


@register_schedule("cosine")
@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 at step 0 to `floor` at the last step and after it.

    Args:
        total_steps: optimiser steps of the whole run.
        floor: factor that is reached.

    Reference: Loshchilov and Hutter 2016, arXiv:1608.03983, formula 5.

    Example:
        >>> [round(Cosine(4000)(i), 6) for i in (0, 1000, 2000, 4000)]
        [1.0, 0.853553, 0.5, 0.0]
    """

    total_steps: int
    floor: float = 0.0

    def __call__(self, step: int) -> float:
        """Return the factor at `step`, 0-based."""
        share = min(1.0, step / self.total_steps)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2

"""Polynomial and cosine decay of the learning rate."""

import math

from facekp.training.optim.build import Factor, register_schedule


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

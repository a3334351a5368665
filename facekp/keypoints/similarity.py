"""Fitting similarity transforms of the plane to point pairs. Points are complex numbers, x + iy."""

import numpy as np
import numpy.typing as npt

ComplexArray = npt.NDArray[np.complex128]


def fit_similarity(source: ComplexArray, target: ComplexArray) -> tuple[complex, complex]:
    """Return the shift and the turn for which `shift + turn * source` is nearest to `target` (least squares).

    Args:
        source: (n,) complex points, n >= 2, not all the same.
        target: (n,) complex points.

    Returns:
        shift: the image of 0.
        turn: the image of 1, seen from there: rotation by its angle, scaling by its absolute value.

    Example:
        >>> shift, turn = fit_similarity(np.array([0, 1, 1j]), np.array([5, 5 + 2j, 3]))
        >>> np.round([shift, turn], 9) + 0  # a quarter turn, twice as large
        array([5.+0.j, 0.+2.j])

    Reference: Umeyama 1991, without reflections; in the plane, a linear regression of complex numbers.
    """
    spread = source - source.mean()
    turn = complex(np.vdot(spread, target) / np.vdot(spread, spread).real)
    return complex(target.mean() - turn * source.mean()), turn

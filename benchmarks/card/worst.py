"""Which images a network does worst on, and what it loses there."""

import numpy as np
import numpy.typing as npt

from facekp.attributes import ATTRIBUTES

LOST = 0.5
"""F1 below which an image's class is called lost."""

Scores = npt.NDArray[np.float64]


def class_f1(confusions: npt.NDArray[np.int64]) -> Scores:
    """Return every image's F1 of every class (n, 19) from its confusion matrix (n, 19, 19).

    nan for background, and where a class is neither in the truth nor in the prediction.
    """
    hits = np.diagonal(confusions, axis1=1, axis2=2).astype(np.float64)
    both = confusions.sum(1) + confusions.sum(2)
    f1 = 2 * hits / np.where(both > 0, both, np.nan)
    f1[:, 0] = np.nan
    return np.asarray(f1, np.float64)


def image_scores(f1: Scores) -> Scores:
    """Return every image's score (n,): the mean F1 of its classes in truth or prediction; 1 where there is none."""
    there = np.isfinite(f1)
    # Nothing to find, and nothing found.
    return np.where(there.any(1), np.nansum(f1, axis=1) / np.maximum(there.sum(1), 1), 1.0)


def rank(scores: Scores, count: int) -> list[int]:
    """Return the numbers of the `count` lowest scores, the lowest first; of equal ones in their order.

    Example:
        >>> rank(np.array([0.9, 0.2, 0.5, 0.2]), 3)
        [1, 3, 2]
    """
    return [int(i) for i in np.argsort(scores, kind="stable")[:count]]


def lost_classes(f1: Scores) -> dict[str, float]:
    """Return the classes of an image whose F1 (19,) is below a half, the lowest first."""
    low = {name: round(float(value), 4) for name, value in zip(ATTRIBUTES, f1, strict=True) if value < LOST}
    return dict(sorted(low.items(), key=lambda item: item[1]))

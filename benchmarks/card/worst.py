"""Which images a network does worst on, what it misses there, and what it sees that is not there."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.card.groups import Placed
from benchmarks.card.scores import Counts, Floats, class_scores, image_scores
from facekp.classes import ATTRIBUTES

MISSED = 0.5
"""F1 below which a class of the ground truth is called missed."""
ERRORS = ("missed", "false_positive")


def rank(scores: Floats, count: int) -> list[int]:
    """Return the numbers of the `count` lowest scores, the lowest first; of equal ones in their order.

    Example:
        >>> rank(np.array([0.9, 0.2, 0.5, 0.2]), 3)
        [1, 3, 2]
    """
    return [int(i) for i in np.argsort(scores, kind="stable")[:count]]


def find_errors(confusion: Counts) -> dict[str, dict[str, float]]:
    """Return by name the F1 of an image's `missed` classes, the lowest first, and the pixels of a `false_positive`.

    Missed is a class of the ground truth with an F1 below a half, false positive one that is only in the prediction.
    """
    f1, truth, predicted = class_scores(confusion)[0], confusion.sum(1), confusion.sum(0)
    classes = range(1, len(ATTRIBUTES))
    missed = {ATTRIBUTES[i]: round(float(f1[i]), 4) for i in classes if truth[i] and f1[i] < MISSED}
    imagined: dict[str, float] = {ATTRIBUTES[i]: int(predicted[i]) for i in classes if predicted[i] and not truth[i]}
    return {"missed": dict(sorted(missed.items(), key=lambda item: item[1])), "false_positive": imagined}


def report_worst(
    ids: Sequence[str], confusions: Counts, placed: dict[str, Placed], count: int
) -> tuple[list[int], dict[str, Any]]:
    """Find the images that score lowest, and what goes wrong there.

    Args:
        ids: of the n images.
        confusions: (n, 19, 19) of all images.
        placed: which images are in which group.
        count: of the images that are listed.

    Returns:
        Their numbers, and: `all`: mean, median and 5th percentile of all images' scores; `missed` and `false_positive`:
        in how many of the worst a class is, the most frequent first; `images`: `id`, `score`, `find_errors`, `groups`.
    """
    scores = image_scores(confusions)
    worst = rank(scores, count)
    spread = {"mean": scores.mean(), "median": np.median(scores), "percentile_5": np.percentile(scores, 5)}
    images: list[dict[str, Any]] = [
        {"id": ids[i], "score": round(float(scores[i]), 4)}
        | find_errors(confusions[i])
        | {"groups": [name for name, group in placed.items() if group.inside[i]]}
        for i in worst
    ]
    frequent = {kind: Counter(name for image in images for name in image[kind]).most_common() for kind in ERRORS}
    report = {"all": {name: round(float(value), 4) for name, value in spread.items()}}
    return worst, report | {kind: dict(counts) for kind, counts in frequent.items()} | {"images": images}

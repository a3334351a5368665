"""A group's scores beside its complement's, like with like, and how sure the difference is."""

from typing import Any

import numpy as np

from benchmarks.card.groups import Placed
from benchmarks.card.scores import Counts, Floats, Members, class_scores, mean_score, score
from facekp.classes import ATTRIBUTES

FEWEST = 10
"""Images on either side below which nothing is compared."""
FEWEST_WITH = 5
"""Images on either side whose ground truth has a class, below which it does not count: one hat would decide it."""
INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap."""
RESAMPLES, CHUNK = 2000, 100
"""Of the bootstrap, and how many of them at a time: all images' weights in all resamples may be 400 MB."""


def common_classes(group: Counts, others: Counts) -> Members:
    """Return (19,) which classes count in a comparison of the images (n, 19, 19) of both sides.

    Only what is in the ground truth of at least `FEWEST_WITH` images on either side does. A face without glasses cannot
    score on them, and a single pixel wrongly taken for glasses would cost its side a whole class.
    """
    enough = [((side.sum(-1) > 0).sum(0) >= FEWEST_WITH) for side in (group, others)]
    return np.asarray(enough[0] & enough[1], np.bool_)


def true_scores(confusions: Counts | Floats) -> tuple[Floats, Floats]:
    """Return F1 and IoU of every class, nan also where it is not in the ground truth; see `class_scores`."""
    f1, iou = class_scores(confusions)
    there = confusions.sum(-1) > 0
    return np.where(there, f1, np.nan), np.where(there, iou, np.nan)


def resample(confusions: Counts, times: int, rng: np.random.Generator) -> Floats:
    """Return the sums (times, 19, 19) of as many images (n, 19, 19), drawn with replacement."""
    n = len(confusions)
    # Whole numbers far below 2 ** 53: floats add them up exactly, and BLAS takes only those.
    flat = confusions.reshape(n, -1).astype(np.float64)
    sizes = [min(CHUNK, times - start) for start in range(0, times, CHUNK)]
    draws = (rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64) for size in sizes)
    return np.concatenate([weights @ flat for weights in draws]).reshape(times, *confusions.shape[1:])


def contrast(confusions: Counts, placed: Placed, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Compare a group with its complement.

    Args:
        confusions: (n, 19, 19) of every image.
        placed: which of the n images are in the group, and which in its complement.
        resamples: of the bootstrap, whose seed is always the same.

    Returns:
        `images` and `others`: how many; `f1`: every class's of the `group` and of the `others`, None where it is
        neither true nor predicted; `classes`: the names of those that count; `mean_f1` and `miou`: over these classes,
        each side's images summed, `group` and `others`, their `difference`, and `low` and `high`, between which 95 % of
        the differences lie when the images of both sides are drawn again. Where a side has fewer than `FEWEST` images,
        or no class but background counts, both are None and `classes` is empty.
    """
    sides = [confusions[placed.inside], confusions[placed.others]]
    row: dict[str, Any] = {"images": len(sides[0]), "others": len(sides[1])}
    row["f1"] = {name: score(side)["f1"] for name, side in zip(("group", "others"), sides, strict=True)}
    counted = common_classes(*sides)
    # Background alone has no F1.
    if min(map(len, sides)) < FEWEST or not counted[1:].any():
        return row | {"classes": [], "mean_f1": None, "miou": None}
    row["classes"] = [name for name, counts in zip(ATTRIBUTES, counted, strict=True) if counts]
    rng = np.random.default_rng(0)
    found = [true_scores(side.sum(0)) for side in sides]
    drawn = [true_scores(resample(side, resamples, rng)) for side in sides]
    for i, kind in enumerate(("mean_f1", "miou")):
        ours, theirs = (float(mean_score(side[i][counted])) for side in found)
        # A class that a resample lost on one side leaves both; a resample that lost all of them says nothing.
        differences = mean_score((drawn[0][i] - drawn[1][i])[:, counted])
        low, high = np.nanpercentile(differences, INTERVAL).tolist()
        figures = {"group": ours, "others": theirs, "difference": ours - theirs, "low": low, "high": high}
        row[kind] = {name: round(value, 6) for name, value in figures.items()}
    return row

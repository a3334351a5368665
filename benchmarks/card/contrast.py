"""A group's scores beside its complement's, like with like, and how sure the difference is."""

from typing import Any

import numpy as np
import numpy.typing as npt

from facekp.attributes import ATTRIBUTES

Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Members = npt.NDArray[np.bool_]

FEWEST = 10
"""Images on either side below which nothing is compared."""
FEWEST_WITH = 5
"""Images on either side whose truth has a class, below which it does not count: one hat would decide a whole class."""
INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap."""
HITS, TRUTH, PREDICTED = range(3)


def tally(confusions: Counts) -> Counts:
    """Return (n, 3, 19) from confusion matrices (n, 19, 19), rows truth: pixels hit, true and predicted."""
    return np.stack([np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(2), confusions.sum(1)], axis=1)


def class_scores(sums: npt.NDArray[Any]) -> dict[str, Scores]:
    """Return F1 and IoU of every class (..., 19) from sums (..., 3, 19); nan where the class is not in the truth.

    Background has no F1, as it is not in the mean.
    """
    hits, truth, predicted = (sums[..., i, :].astype(np.float64) for i in range(3))
    truth = np.where(truth > 0, truth, np.nan)
    f1, iou = 2 * hits / (truth + predicted), hits / (truth + predicted - hits)
    f1[..., 0] = np.nan
    return {"mean_f1": f1, "miou": iou}


def common_classes(group: Counts, others: Counts) -> Members:
    """Return (19,) which classes count in a comparison, from the tallies (n, 3, 19) of both sides.

    Only what is in the truth of at least `FEWEST_WITH` images on either side does. A face without glasses cannot
    score on them, and a single pixel wrongly taken for glasses would cost its side a whole class.
    """
    enough = [(side[:, TRUTH] > 0).sum(0) >= FEWEST_WITH for side in (group, others)]
    return np.asarray(enough[0] & enough[1], np.bool_)


def resample(counts: Counts, times: int, rng: np.random.Generator) -> Scores:
    """Return the sums (times, 3, 19) of as many images (n, 3, 19), drawn with replacement."""
    n = len(counts)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=times)
    # Whole numbers far below 2 ** 53: floats add them up exactly, and BLAS takes only those.
    sums: Scores = weights.astype(np.float64) @ counts.reshape(n, -1).astype(np.float64)
    return sums.reshape(times, *counts.shape[1:])


def contrast(confusions: Counts, group: Members, others: Members, *, resamples: int, seed: int) -> dict[str, Any]:
    """Compare a group with its complement.

    Args:
        confusions: (n, 19, 19) of every image, rows truth, columns prediction.
        group: (n,) which images are in it.
        others: (n,) which are in its complement.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `images` and `others`: how many; `classes`: the names of those that count; `mean_f1` and `miou`: over these
        classes, each side's images summed, `group` and `others`, their `difference`, and `low` and `high`, between
        which 95 % of the differences lie when the images of both sides are drawn again. Where a side has fewer than
        `FEWEST` images, or no class but background counts, both are None and `classes` is empty.
    """
    ours, theirs = (tally(confusions[side]) for side in (group, others))
    classes = common_classes(ours, theirs)
    row: dict[str, Any] = {"images": len(ours), "others": len(theirs), "classes": [], "mean_f1": None, "miou": None}
    # Background alone has no F1.
    if min(len(ours), len(theirs)) < FEWEST or not classes[1:].any():
        return row
    row["classes"] = [name for name, counts in zip(ATTRIBUTES, classes, strict=True) if counts]
    sides = [class_scores(side.sum(0)) for side in (ours, theirs)]
    rng = np.random.default_rng(seed)
    drawn = [class_scores(resample(side, resamples, rng)) for side in (ours, theirs)]
    for kind in ("mean_f1", "miou"):
        first, second = (float(np.nanmean(side[kind][classes])) for side in sides)
        # A class that a resample lost on one side leaves both.
        differences = np.nanmean((drawn[0][kind] - drawn[1][kind])[:, classes], axis=1)
        low, high = np.percentile(differences, INTERVAL).tolist()
        figures = {"group": first, "others": second, "difference": first - second, "low": low, "high": high}
        row[kind] = {name: round(value, 6) for name, value in figures.items()}
    return row

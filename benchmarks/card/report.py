"""The figures of the card as plain data, and as tables."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.card.contrast import Counts, contrast
from benchmarks.card.groups import Placed
from benchmarks.card.passes import score
from benchmarks.card.worst import Scores, image_scores, lost_classes
from facekp.attributes import ATTRIBUTES


def report_worst(ids: Sequence[str], f1: Scores, worst: Sequence[int], placed: Sequence[Placed]) -> dict[str, Any]:
    """Return what the worst images are and lose.

    Args:
        ids: of the n images.
        f1: (n, 19) of every image's classes; see `class_f1`.
        worst: numbers of the images that are listed.
        placed: which images are in which group.

    Returns:
        `all`: mean, median and 5th percentile of all images' scores; `lost`: in how many of the worst images a class is
        lost, the most frequent first; `images`: `id`, `score`, what is `lost` and which `groups` it is in.
    """
    scores = image_scores(f1)
    spread = {"mean": scores.mean(), "median": np.median(scores), "percentile_5": np.percentile(scores, 5)}
    images = [
        {
            "id": ids[i],
            "score": round(float(scores[i]), 4),
            "lost": lost_classes(f1[i]),
            "groups": [one.group.name for one in placed if one.inside[i]],
        }
        for i in worst
    ]
    return {
        "all": {name: round(float(value), 4) for name, value in spread.items()},
        "lost": dict(Counter(name for i in worst for name in lost_classes(f1[i])).most_common()),
        "images": images,
    }


def report_group(
    placed: Placed, confusions: Counts, worst: Sequence[int], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Return the row of a group.

    Args:
        placed: which images are in it.
        confusions: (n, 19, 19) of all images, rows truth, columns prediction.
        worst: numbers of the worst images.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `name`; `about`; `values`: the least and the greatest number in the group, or None; what `contrast` gives; `f1`:
        every class's of the `group` and of the `others`, None where it is neither true nor predicted; `among_worst`:
        how many of the worst images are in the group.
    """
    own = placed.values[placed.inside]
    sides = {"group": placed.inside, "others": placed.others}
    return {
        "name": placed.group.name,
        "about": placed.group.about,
        "values": [round(float(end), 4) for end in (own.min(), own.max())] if len(own) else None,
        **contrast(confusions, placed.inside, placed.others, resamples=resamples, seed=seed),
        "f1": {name: score(confusions[side])["f1"] for name, side in sides.items()},
        "among_worst": int(placed.inside[list(worst)].sum()),
    }


def count_shared(placed: Sequence[Placed]) -> dict[str, dict[str, int]]:
    """Return of each group how many of its images are in each of the others too, where any is."""
    return {
        one.group.name: {
            other.group.name: shared
            for other in placed
            if other is not one and (shared := int((one.inside & other.inside).sum()))
        }
        for one in placed
    }


def scores_table(sizes: dict[str, dict[str, Any]]) -> str:
    """Return the scores of all images and of every class, at every size."""
    headers = ["", *(f"{kind}, {size}" for size in sizes for kind in ("IoU", "F1"))]
    totals = [
        ["mean (F1: without background)", *(scores[name] for scores in sizes.values() for name in ("miou", "mean_f1"))],
        ["pixel accuracy", *(value for scores in sizes.values() for value in (scores["pixel_accuracy"], None))],
    ]
    classes = [
        [name, *(scores[kind][name] for scores in sizes.values() for kind in ("iou", "f1"))] for name in ATTRIBUTES
    ]
    return str(tabulate([*totals, *classes], headers, floatfmt=".3f", missingval="-"))


def groups_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the groups beside their complements."""
    headers = ["group", "images", "others", "classes"]
    headers += [part for kind in ("mean F1", "mIoU") for part in (kind, "others'", "difference", "95 %")]
    headers += ["of the worst"]
    lines = [
        [
            *(row["name"], row["images"], row["others"], len(row["classes"]) or None),
            *(*_cells(row["mean_f1"]), *_cells(row["miou"]), row["among_worst"]),
        ]
        for row in rows
    ]
    return str(tabulate(lines, headers, missingval="-", disable_numparse=True))


def _cells(figures: dict[str, float] | None) -> list[str | None]:
    if figures is None:
        return [None] * 4
    between = f"{figures['low']:+.3f} to {figures['high']:+.3f}"
    return [f"{figures['group']:.3f}", f"{figures['others']:.3f}", f"{figures['difference']:+.3f}", between]


def worst_lines(worst: dict[str, Any]) -> str:
    """Return in two lines how all images score, and what the worst lose."""
    everything, images = worst["all"], worst["images"]
    lost = ", ".join(f"{name} {count}" for name, count in worst["lost"].items())
    return (
        f"an image's own mean F1: mean {everything['mean']:.3f}, median {everything['median']:.3f}, "
        f"5th percentile {everything['percentile_5']:.3f}\n"
        f"the {len(images)} worst, {images[0]['score']:.3f} to {images[-1]['score']:.3f}, lose (F1 below a half): "
        f"{lost or 'nothing'}"
    )

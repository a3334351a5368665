"""Scores of all images, groups and the worst images from confusion matrices, and the model card's tables."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tabulate import tabulate

from benchmarks.card.groups import GROUPS, Floats
from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.images import UInt8Array
from facekp.training.metrics import scores_from_confusion
from facekp.training.rows import nest_scores

NAMES = CELEBAMASK_HQ.names

Counts = npt.NDArray[np.int64]  # confusion matrices (..., 19, 19), rows truth, columns prediction
MIN_IMAGES, MIN_WITH_CLASS = 10, 5
"""Minimum images on either side for a comparison, and minimum images with a class for that class to count."""
ERRORS = ("missed", "false_positive")


def count(label: UInt8Array, mask: UInt8Array) -> Counts:
    """Return the confusion matrix (19, 19) of the pixels of an image that have a label."""
    pairs = np.int64(len(CELEBAMASK_HQ)) * label[label != IGNORE_INDEX] + mask[label != IGNORE_INDEX]
    return np.bincount(pairs, minlength=len(CELEBAMASK_HQ) ** 2).reshape(len(CELEBAMASK_HQ), len(CELEBAMASK_HQ))


def score(confusions: Counts) -> dict[str, Any]:
    """Return the scores of images (n, 19, 19) together, as `python -m facekp.evaluate` writes them, but no loss."""
    scores = scores_from_confusion(torch.from_numpy(confusions.sum(0)))
    return nest_scores({f"all/{name}": float(value) for name, value in scores.items()}, "all")


def class_scores(confusions: Counts | Floats) -> tuple[Floats, Floats]:
    """Return F1 and IoU of every class, each (..., 19), of every matrix (..., 19, 19).

    nan where a class is neither in the truth nor in the prediction; F1 of background is nan, since no mean includes it.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
    both = (confusions.sum(-1) + confusions.sum(-2)).astype(np.float64)
    both[both == 0] = np.nan
    f1, iou = 2 * hits / both, hits / (both - hits)
    f1[..., 0] = np.nan
    return f1, iou


def mean_score(scores: Floats) -> Floats:
    """Return the mean (...) over the classes (..., n) that have a score; nan, without a warning, if none has."""
    count = np.isfinite(scores).sum(-1)
    return np.asarray(np.nansum(scores, axis=-1) / np.where(count > 0, count, np.nan), np.float64)


def resample(confusions: Counts, times: int, rng: np.random.Generator) -> Floats:
    """Return the sums (times, 19, 19) of as many images (n, 19, 19), drawn with replacement."""
    n = len(confusions)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)
    # Whole numbers far below 2 ** 53: floats add them exactly, and only floats go to BLAS.
    return (weights @ confusions.reshape(n, -1).astype(np.float64)).reshape(times, *confusions.shape[1:])


def contrast(confusions: Counts, members: npt.ArrayLike, resamples: int = 2000) -> dict[str, Any]:
    """Compare the group of `members` (n,), 1 in the group, 0 in its complement, nan in neither, with its complement.

    Only classes that are in the truth of at least `MIN_WITH_CLASS` images on either side count: a face without glasses
    cannot score on them, and one pixel wrongly predicted as glasses would cost its side a whole class.

    Returns:
        The numbers of `images` and `others`; every class's `f1` on both sides; the `classes` that count; over these,
        `mean_f1` and `miou` of both sides, their `difference`, and `low` and `high` of its 95 % interval by bootstrap;
        None where a side has fewer than `MIN_IMAGES` images.
    """
    sides = [confusions[np.equal(members, side)] for side in (1, 0)]
    row: dict[str, Any] = {"images": len(sides[0]), "others": len(sides[1])}
    row["f1"] = {name: score(side)["f1"] for name, side in zip(("group", "others"), sides, strict=True)}
    counted = np.all([(side.sum(-1) > 0).sum(0) >= MIN_WITH_CLASS for side in sides], axis=0)
    if min(map(len, sides)) < MIN_IMAGES or not counted[1:].any():
        return row | {"classes": [], "mean_f1": None, "miou": None}
    row["classes"] = [name for name, counts in zip(NAMES, counted, strict=True) if counts]
    rng = np.random.default_rng(0)
    drawn = [resample(side, resamples, rng) for side in sides]
    # A class missing from one side of a resample counts on neither.
    lost = np.any([side.sum(-1) == 0 for side in drawn], axis=0)
    for i, kind in enumerate(("mean_f1", "miou")):
        ours, theirs = (float(mean_score(class_scores(side.sum(0))[i][counted])) for side in sides)
        differences = np.where(lost, np.nan, class_scores(drawn[0])[i] - class_scores(drawn[1])[i])
        low, high = np.nanpercentile(mean_score(differences[:, counted]), (2.5, 97.5)).tolist()
        figures = {"group": ours, "others": theirs, "difference": ours - theirs, "low": low, "high": high}
        row[kind] = {name: round(value, 6) for name, value in figures.items()}
    return row


def compare_groups(confusions: Counts, members: pd.DataFrame) -> dict[str, Any]:
    """Return `groups`, each described and compared with its complement, and `shared`, the images two groups share."""
    inside = (members == 1).astype(int)
    shared = inside.T @ inside
    return {
        "groups": {name: {"about": GROUPS[name][0], **contrast(confusions, members[name])} for name in members},
        "shared": {one: {two: int(n) for two, n in row.items() if n and two != one} for one, row in shared.iterrows()},
    }


def find_errors(confusion: Counts) -> dict[str, dict[str, float]]:
    """Return the F1 of an image's `missed` classes, lowest first, and the pixels of its `false_positive` ones.

    A class is missed if it is in the truth with an F1 below a half, false positive if it is in the prediction alone.
    """
    f1, truth, predicted = class_scores(confusion)[0], confusion.sum(1), confusion.sum(0)
    classes = range(1, len(CELEBAMASK_HQ))
    missed = sorted((round(float(f1[i]), 4), i) for i in classes if truth[i] and f1[i] < 0.5)
    imagined: dict[str, float] = {NAMES[i]: int(predicted[i]) for i in classes if predicted[i] and not truth[i]}
    return {"missed": {NAMES[i]: value for value, i in missed}, "false_positive": imagined}


def report_worst(ids: Sequence[str], confusions: Counts, members: pd.DataFrame, worst: int) -> dict[str, Any]:
    """List the `worst` images, by mean F1 over the classes in their truth or prediction, and their errors.

    `all` is the spread of all images' scores; `missed` and `false_positive` count the worst images by class.
    """
    scores = np.nan_to_num(mean_score(class_scores(confusions)[0]), nan=1.0)
    spread = {"mean": scores.mean(), "median": np.median(scores), "percentile_5": np.percentile(scores, 5)}
    images: list[dict[str, Any]] = [
        {"id": ids[i], "score": round(float(scores[i]), 4)}
        | find_errors(confusions[i])
        | {"groups": [name for name in members if members[name].iloc[i] == 1]}
        for i in np.argsort(scores, kind="stable")[:worst]
    ]
    frequent = {kind: dict(Counter(name for one in images for name in one[kind]).most_common()) for kind in ERRORS}
    return {"all": {name: round(float(value), 4) for name, value in spread.items()}, **frequent, "images": images}


def tables(card: dict[str, Any]) -> list[str]:
    """Return the tables of card.json."""
    scores, worst = card["scores"], card["worst"]
    kinds = {f"{title}, {size}": row[title.lower()] for size, row in scores.items() for title in ("IoU", "F1")}
    spread, images = worst["all"], worst["images"]
    ends = f"{_figure(images[0]['score'])} to {_figure(images[-1]['score'])}"
    # Ties stay in the order of the classes.
    wrong = [name for name in NAMES if any(name in worst[kind] for kind in ERRORS)]
    wrong.sort(key=lambda name: -worst["missed"].get(name, 0))
    totals = {"mean_f1": "mean F1", "miou": "mIoU", "pixel_accuracy": "pixel accuracy"}
    headings = ["group", "who is in it", "images", "others", "mean F1", "others'", "difference", "95 %", "of the worst"]
    return [
        _table(
            ["", *(f"{size} pixels" for size in scores)],
            [[title, *(_figure(scores[size][name]) for size in scores)] for name, title in totals.items()],
        ),
        _table(["class", *kinds], [[name, *(_figure(kind[name]) for kind in kinds.values())] for name in NAMES]),
        _table(
            ["an image's own mean F1", "mean", "median", "5th percentile", f"the {len(images)} worst"],
            [["", *(_figure(spread[name]) for name in ("mean", "median", "percentile_5")), ends]],
        ),
        _table(headings, [_group_cells(name, row, images) for name, row in card["groups"].items()]),
        _table(
            [f"class, in how many of the {len(images)} worst", "missed", "false positive"],
            [[name, *(worst[kind].get(name, 0) for kind in ERRORS)] for name in wrong],
        ),
    ]


def _group_cells(name: str, row: dict[str, Any], worst: Sequence[dict[str, Any]]) -> list[str]:
    compared = ["-"] * 4
    if f1 := row["mean_f1"]:
        difference, low, high = (f"{f1[key]:+.3f}" for key in ("difference", "low", "high"))
        compared = [_figure(f1["group"]), _figure(f1["others"]), difference, f"{low} to {high}"]
    among = sum(name in image["groups"] for image in worst)
    return [f"`{name}`", row["about"], row["images"], row["others"], *compared, str(among)]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))

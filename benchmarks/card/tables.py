"""The figures of the card as Markdown, in the form that docs/results/model_card.md has them."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from benchmarks.card.worst import ERRORS
from facekp.classes import ATTRIBUTES

TOTALS = {"mean_f1": "mean F1", "miou": "mIoU", "pixel_accuracy": "pixel accuracy"}


def tables(card: dict[str, Any]) -> list[str]:
    """Return the tables of what card.json holds.

    They are: the scores of all images together; of every class; of single images; of groups beside their complements;
    and what goes wrong in the worst images.
    """
    scores, worst = card["scores"], card["worst"]
    kinds = [(kind, size) for size in scores for kind in ("iou", "f1")]
    spread, images = worst["all"], worst["images"]
    ends = f"{_figure(images[0]['score'])} to {_figure(images[-1]['score'])}"
    wrong = [name for name in ATTRIBUTES if any(name in worst[kind] for kind in ERRORS)]
    frequent = sorted(wrong, key=lambda name: -worst["missed"].get(name, 0))  # ties in the order of the classes
    return [
        _table(
            ["", *(f"{size} pixels" for size in scores)],
            [[title, *(_figure(scores[size][name]) for size in scores)] for name, title in TOTALS.items()],
        ),
        _table(
            ["class", *({"iou": "IoU", "f1": "F1"}[kind] + f", {size}" for kind, size in kinds)],
            [[name, *(_figure(scores[size][kind][name]) for kind, size in kinds)] for name in ATTRIBUTES],
        ),
        _table(
            ["an image's own mean F1", "mean", "median", "5th percentile", f"the {len(images)} worst"],
            [["", *(_figure(spread[name]) for name in ("mean", "median", "percentile_5")), ends]],
        ),
        _table(
            ["group", "who is in it", "images", "others", "mean F1", "others'", "difference", "95 %", "of the worst"],
            [_group_cells(name, row, images) for name, row in card["groups"].items()],
        ),
        _table(
            [f"class, in how many of the {len(images)} worst", "missed", "false positive"],
            [[name, *(worst[kind].get(name, 0) for kind in ERRORS)] for name in frequent],
        ),
    ]


def _group_cells(name: str, row: dict[str, Any], worst: Sequence[dict[str, Any]]) -> list[str | int]:
    f1 = row["mean_f1"]
    compared = ["-"] * 4
    if f1:
        signed = {name: f"{f1[name]:+.3f}" for name in ("difference", "low", "high")}
        compared = [_figure(f1["group"]), _figure(f1["others"]), signed["difference"]]
        compared += [f"{signed['low']} to {signed['high']}"]
    among = sum(name in image["groups"] for image in worst)
    return [f"`{name}`", row["about"], row["images"], row["others"], *compared, among]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))

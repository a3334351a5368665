"""The model card's tables in Markdown."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from benchmarks.card.scores import ERRORS
from facekp.classes import ATTRIBUTES

TOTALS = {"mean_f1": "mean F1", "miou": "mIoU", "pixel_accuracy": "pixel accuracy"}


def tables(card: dict[str, Any]) -> list[str]:
    """Return the tables of card.json.

    The scores of all images, of every class and of single images; groups beside their complements; the errors in the
    worst images.
    """
    scores, worst = card["scores"], card["worst"]
    kinds = {
        f"{title}, {size}": scores[size][kind] for size in scores for kind, title in (("iou", "IoU"), ("f1", "F1"))
    }
    spread, images = worst["all"], worst["images"]
    ends = f"{_figure(images[0]['score'])} to {_figure(images[-1]['score'])}"
    # Ties stay in the order of the classes.
    wrong = [name for name in ATTRIBUTES if any(name in worst[kind] for kind in ERRORS)]
    wrong.sort(key=lambda name: -worst["missed"].get(name, 0))
    headings = ["group", "who is in it", "images", "others", "mean F1", "others'", "difference", "95 %", "of the worst"]
    return [
        _table(
            ["", *(f"{size} pixels" for size in scores)],
            [[title, *(_figure(scores[size][name]) for size in scores)] for name, title in TOTALS.items()],
        ),
        _table(["class", *kinds], [[name, *(_figure(kind[name]) for kind in kinds.values())] for name in ATTRIBUTES]),
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

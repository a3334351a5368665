"""The rows of a run's `metrics.csv`, and their summary; without torch, for commands that only read runs."""

import csv
import math
import statistics
from pathlib import Path
from typing import Any

from facekp.config import CallbacksConfig

FILE = "metrics.csv"
MARK = rb"step,([^\n]*,)?(train|val|test)/loss"  # regular expression for the first bytes of the file
Row = dict[str, float]  # logged at a step: `step`, `seconds` since the run began if known, scores such as `val/miou`
PER_CLASS = ("iou", "f1")  # scores computed for every class, such as `iou/nose`
CURVE = ("loss", "miou", "mean_f1", "pixel_accuracy")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a `metrics.csv`, without empty cells; no rows if the file is missing."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def score_rows(rows: list[Row], callbacks: CallbacksConfig) -> dict[str, Any]:
    """Return a summary's `steps`, `seconds`, `train` and `val` from the rows that a run has logged so far.

    `val` is empty before the first validation.
    """

    def mean_loss(step: int) -> float | None:
        """Return the mean training loss of 100 steps up to `step`; None if it is nan or was not logged."""
        recent = range(step - 99, step + 1)
        losses = [row["train/loss"] for row in rows if "train/loss" in row and row["step"] in recent]
        return finite(statistics.fmean(losses)) if losses else None

    steps = int(rows[-1]["step"]) if rows else 0
    scores: dict[str, Any] = {
        "steps": steps,
        "seconds": rows[-1].get("seconds") if rows else None,
        "train": {"loss": mean_loss(steps)},
        "val": {},
    }
    if validated := [row for row in rows if callbacks.monitor in row]:
        best = (max if callbacks.mode == "max" else min)(validated, key=lambda row: row[callbacks.monitor])
        scores["val"] = {"best": nest_scores(best, "val"), "last": nest_scores(validated[-1], "val"), "curve": []}
        for row in validated:
            point = {"step": int(row["step"]), "seconds": row.get("seconds"), "train_loss": mean_loss(int(row["step"]))}
            scores["val"]["curve"].append(point | {name: finite(row[f"val/{name}"]) for name in CURVE})
    return scores


def measured_cost(rows: list[Row]) -> dict[str, float | None]:
    """Return a run's median speed and its peak memory, MiB; None if they were not logged."""
    speed = [row["train/images_per_second"] for row in rows if "train/images_per_second" in row]
    memory = [row["train/peak_memory"] for row in rows if "train/peak_memory" in row]
    return {
        "images_per_second": round(statistics.median(speed), 2) if speed else None,
        "peak_memory": round(max(memory), 1) if memory else None,
    }


def nest_scores(row: dict[str, float], split: str) -> dict[str, Any]:
    """Turn `{"val/miou": .., "val/iou/nose": .., ...}` into `{"miou": .., "iou": {"nose": ..}}` of `finite` values."""
    prefix = f"{split}/"
    plain = {name.removeprefix(prefix): finite(value) for name, value in row.items() if name.startswith(prefix)}
    nested: dict[str, Any] = {"step": int(row["step"])} if "step" in row else {}
    nested |= {name: value for name, value in plain.items() if "/" not in name}
    for kind in PER_CLASS:
        own = f"{kind}/"
        nested[kind] = {name.removeprefix(own): value for name, value in plain.items() if name.startswith(own)}
    return nested


def finite(value: float) -> float | None:
    """Return `value` rounded to 6 decimals, or None for nan and infinity, which JSON lacks."""
    return round(value, 6) if math.isfinite(value) else None

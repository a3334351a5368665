"""`metrics.json` of a run folder: the scores, settings and cost of a finished run."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from facekp.config import CallbacksConfig, Config
from facekp.errors import ConfigError
from facekp.files import write_file
from facekp.hardware import describe_machine, list_versions, resolve_precision
from facekp.models import build_without_weights
from facekp.models.cost import multiply_adds
from facekp.training.folder import SUMMARY, record_settings
from facekp.training.history import Row, RunLog
from facekp.training.metrics import finite, nest_scores

CURVE = ("loss", "miou", "mean_f1", "pixel_accuracy")
TRAIN_LOSS_STEPS = 100
"""Number of steps over which a reported training loss is averaged."""


def write_summary(config: Config, trainer: pl.Trainer) -> dict[str, Any]:
    """Write the final scores of a run to `metrics.json`, on one process, and return them.

    Raises:
        ConfigError: the run has no validation, so nothing is left to do.
    """
    log = next(logger for logger in trainer.loggers if isinstance(logger, RunLog))
    rows = [log.rows[step] for step in sorted(log.rows)]
    scores = score_rows(rows, config.callbacks)
    if not scores["val"]:
        raise ConfigError(
            f"'{config.resume or config.output_dir}' is a finished run without a metrics.csv: nothing is left to do"
        )
    summary: dict[str, Any] = {"model": config.model, "seed": config.seed, **scores}
    tested = [row for row in rows if "test/miou" in row]
    if tested:
        # The best checkpoint was tested, not the last.
        summary["test"] = nest_scores({**tested[-1], "step": scores["val"]["best"]["step"]}, "test")
    with torch.device("meta"):
        net = build_without_weights(**config.model, classes=len(trainer.lightning_module.classes))  # type: ignore[arg-type]
    size = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "multiply_adds": multiply_adds(net, config.data.crop),
    }
    summary |= {
        "cost": {**size, **measured_cost(rows)},
        "settings": record_settings(config, trainer.datamodule.excluded_digest),  # type: ignore[attr-defined]  # its own
        "machine": describe_machine(),
        "precision": resolve_precision(config.trainer.precision, config.trainer.accelerator),
        "versions": list_versions(),
    }
    if trainer.is_global_zero:
        write_file(
            Path(config.output_dir) / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n"
        )  # the file marks the run as finished
    return summary


def score_rows(rows: list[Row], callbacks: CallbacksConfig) -> dict[str, Any]:
    """Return a summary's `steps`, `seconds`, `train` and `val` from the rows that a run has logged so far.

    `val` is empty before the first validation.
    """

    def mean_loss(step: int) -> float | None:
        """Return the mean training loss of the steps up to `step`; None if it is nan or was not logged."""
        recent = range(step - TRAIN_LOSS_STEPS + 1, step + 1)
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

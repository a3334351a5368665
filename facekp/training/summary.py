"""`metrics.json` of a run folder: the scores, settings and cost of a finished run."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from facekp.config import Config
from facekp.errors import ConfigError
from facekp.files import write_file
from facekp.hardware import describe_machine, list_versions, resolve_precision
from facekp.models import build_without_weights
from facekp.models.registry import multiply_adds
from facekp.training.folder import SUMMARY, record_settings
from facekp.training.history import RunLog
from facekp.training.rows import measured_cost, nest_scores, score_rows


def write_summary(config: Config, trainer: pl.Trainer) -> dict[str, Any]:
    """Write the final scores of a run to `metrics.json`, on one process, and return them.

    Raises:
        ConfigError: the run has no validation, so nothing is left to do.
    """
    log = next(logger for logger in trainer.loggers if isinstance(logger, RunLog))
    rows = [log.rows[step] for step in sorted(log.rows)]
    scores = score_rows(rows, config.callbacks)
    if not scores["val"]:
        finished = f"'{config.resume or config.output_dir}' is a finished run without a metrics.csv"
        raise ConfigError(f"{finished}: nothing is left to do")
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
    if trainer.is_global_zero:  # the file marks the run as finished
        write_file(Path(config.output_dir) / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary

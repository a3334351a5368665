"""`metrics.csv` of a run folder: one row per logged step, kept when the run is resumed."""

import csv
import sys
import time
from argparse import Namespace
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from facekp.files import replacing
from facekp.training.rows import FILE, Row, read_rows


class Tolerance(AbstractContextManager[None]):
    """Suppress the errors of a `with` block that logs to `name`, and print the first; use it any number of times.

    Example:
        >>> tolerance = Tolerance("W&B")
        >>> for _ in range(2):
        ...     with tolerance:
        ...         raise OSError("disk full")
        >>> tolerance.failed
        True
    """

    def __init__(self, name: str) -> None:
        self.name, self.failed = name, False

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):  # Ctrl-C, or no error
            return False
        if not self.failed:
            line = next(iter(str(error).splitlines()), "") or type(error).__name__
            print(f"{self.name}: cannot log ({line}); training goes on", file=sys.stderr)
        self.failed = True
        return True


class RunLog(Logger):
    """Write every logged value to `folder/metrics.csv`, with its step and the seconds since the run began.

    Test scores have no time: the test split is scored after the last step.

    Lightning's CSVLogger removes the file when a run is resumed; this one keeps the rows up to the resumed step. Every
    process keeps the rows, and the first one writes them. Set `trainer` once it is built: it counts the steps.

    Args:
        folder: the run folder.
        past: folder of the run that this one continues, whose rows up to `step` are copied; None for a new run.
        step: optimiser steps done in that run.
        keep_file: whether to write the file; otherwise the rows are kept only in memory.
    """

    name = "runlog"
    version = ""  # the run folder is the version

    def __init__(self, folder: Path, past: Path | None = None, step: int = 0, *, keep_file: bool = True) -> None:
        super().__init__()
        self.path = folder / FILE
        self.keep_file = keep_file
        self.rows: dict[int, Row] = {}
        if past is not None:
            self.rows = {int(row["step"]): row for row in read_rows(past / FILE) if row["step"] <= step}
            if not self.rows:
                rank_zero_only(print)(f"'{past}' has no {FILE}: scores begin at step {step}, times are unknown")
        self.trainer: pl.Trainer | None = None  # built after its loggers
        spent = [row["seconds"] for row in self.rows.values() if "seconds" in row] if past is not None else [0.0]
        self._began = time.monotonic() - max(spent) if spent else None
        self._write_after = 0.0
        self._tolerate = Tolerance(FILE)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder already holds the composed configuration."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add `metrics` to the row of the trainer's current step."""
        # Lightning's `step` is one lower in training than in the validation that follows.
        done = int(self.trainer.global_step) if self.trainer else 0
        row = self.rows.setdefault(done, {"step": done})
        if self._began is not None and "test/loss" not in metrics:
            row["seconds"] = round(time.monotonic() - self._began, 2)
        row |= {name: value for name, value in metrics.items() if name != "epoch"}
        if "val/loss" in metrics:
            self._write_after = 0.0

    def save(self) -> None:
        """Write the file unless it was just written; Lightning calls this after every row."""
        if time.monotonic() >= self._write_after:
            with self._tolerate:  # the next call tries again
                self.finalize("")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the whole file, atomically."""
        self._write_after = time.monotonic() + 5  # seconds; validation scores are written at once
        if not (self.rows and self.keep_file):
            return
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        with replacing(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.rows))

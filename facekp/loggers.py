"""Where curves go: `metrics.csv` always, Weights & Biases by default."""

from pathlib import Path

from pytorch_lightning.loggers.logger import Logger

from facekp.config import Config
from facekp.runlog import RunLog


def build_loggers(config: Config, resume: Path | None) -> tuple[RunLog, list[Logger]]:
    """Return the run's own log, and all loggers including it."""
    log = RunLog(Path(config.output_dir), resumed_from=resume.parents[1] if resume else None)
    return log, [log]


def finish_loggers(config: Config) -> None:
    """Close what a multirun's next job must not write to."""

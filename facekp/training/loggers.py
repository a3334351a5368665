"""Loggers of a run: `metrics.csv` in its folder, and Weights & Biases by default."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeVar

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import Logger

from facekp.config import Config, LoggerConfig
from facekp.data.layout import source_classes
from facekp.training.folder import Resume, StoppedError, job_name, sweep_job
from facekp.training.history import RunLog, Tolerance
from facekp.training.rows import PER_CLASS

Mode = Literal["online", "offline", "disabled"]  # how W&B runs
T = TypeVar("T")
TIMEOUT = 20  # seconds to wait for W&B
FOLDERS = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")  # folders, in HOME by default, that W&B writes to as well


def build_loggers(config: Config, resume: Resume | None) -> list[Logger]:
    """Return the loggers of a run: its own log, and W&B's if it is selected and can be started."""
    past = (resume.folder, resume.step) if resume else ()
    loggers: list[Logger] = [RunLog(Path(config.output_dir), *past, keep_file=config.logger.name != "none")]
    if config.logger.name == "wandb":
        with Tolerance("W&B"):
            loggers.append(build_wandb(config, resume))
    return loggers


class TolerantWandbLogger(WandbLogger):
    """Lightning's logger for W&B, whose errors do not end the run: the first is printed, and training goes on."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.tolerate = Tolerance("W&B")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send scores to W&B."""
        with self.tolerate:
            super().log_metrics(metrics, step)

    @rank_zero_only
    def log_checkpoint(self, path: Path, scores: Mapping[str, Any]) -> None:
        """Send a checkpoint to W&B as a model artifact, with its scores."""
        import wandb

        with self.tolerate:
            artifact = wandb.Artifact(f"model-{self.experiment.id}", "model", metadata=dict(scores))
            artifact.add_file(str(path))
            self.experiment.log_artifact(artifact, aliases=["best"])


def build_wandb(config: Config, resume: Resume | None) -> TolerantWandbLogger:
    """Start the W&B run and return its logger; see `started`. A resumed run keeps its W&B id."""
    import wandb  # takes a second

    c, group, name, run_id = config.logger, None, Path(config.output_dir).name, None
    if (hydra := sweep_job()) is not None:
        sweep = Path(hydra.sweep.dir)
        group, name = sweep.name, job_name(sweep, list(hydra.overrides.task)) or str(hydra.job.num)
    if resume is not None:
        past = sorted((resume.folder / "wandb").glob("*run-*-*"), key=lambda path: path.stat().st_mtime)
        run_id = past[-1].name.rpartition("-")[2] if past else None  # folder names end with it

    def start(mode: Mode) -> TolerantWandbLogger:
        logger = TolerantWandbLogger(
            project=c.project,
            entity=c.entity,
            group=c.group or group,
            name=c.run_name or name,
            id=run_id,
            save_dir=config.output_dir,
            settings=wandb.Settings(silent=True, console="off", mode=mode, init_timeout=TIMEOUT),
        )
        _describe_run(logger, config)
        return logger

    return started(c, Path(config.output_dir), start)


def started(logger: LoggerConfig, folder: Path, start: Callable[[Mode], T]) -> T:
    """Return `start(mode)`, which starts a W&B run in `folder`.

    If W&B cannot be reached, a line is printed, and the run is logged offline.
    """
    import wandb  # takes a second

    wanted = "offline" if logger.offline else os.environ.get("WANDB_MODE")
    if wanted != "disabled":
        rank_zero_only(_use_writable_folders)(folder / "wandb")
    if wanted in ("disabled", "offline", "dryrun"):
        return start("disabled" if wanted == "disabled" else "offline")
    try:
        # With `prompt`, `init` would wait for a key on a terminal.
        if rank_zero_only(wandb.login)(prompt=False, verify=True, timeout=TIMEOUT) is False:
            raise wandb.errors.UsageError("no API key")
        return start("online")
    except (wandb.errors.Error, OSError) as error:
        later = f"wandb sync {folder}/wandb/offline-run-*"
        print(f"W&B: {str(error).splitlines()[0]}, so this run is logged offline; send it later with: {later}")
    return start("offline")


def _use_writable_folders(instead: Path) -> None:
    """Move those of W&B's folders that cannot be written below `instead`, until `closing_wandb` ends."""
    from wandb.env import get_cache_dir, get_data_dir

    for name, folder in zip(FOLDERS, (get_data_dir(), str(get_cache_dir())), strict=True):
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(2**20))  # what W&B needs at least
        except OSError:
            os.environ[name] = str(instead / name.split("_")[1].lower())


@rank_zero_only
def _describe_run(logger: WandbLogger, config: Config) -> None:
    run = logger.experiment
    run.config.update(asdict(config), allow_val_change=True)
    # Summaries show a run's best values, not its last. test/* is logged once and keeps W&B's summary, the value.
    classes = (f"val/{kind}/{name}" for kind in PER_CLASS for name in source_classes(config.data).names)
    for name in ("train/loss", "val/loss", "val/miou", "val/mean_f1", "val/pixel_accuracy", *classes):
        best = "min" if name.endswith("/loss") else "max"
        run.define_metric(name, step_metric="trainer/global_step", summary=f"{best},last")


@contextmanager
def closing_wandb(logger: LoggerConfig) -> Iterator[None]:
    """Close the W&B run at the end, as failed after an error, or the next job of a multirun would write into it."""
    if logger.name != "wandb":
        yield
        return
    status, before = 1, set(os.environ)
    try:
        yield
        status = 0
    except StoppedError:
        status = 0
        raise
    finally:
        with Tolerance("W&B"):
            import wandb

            wandb.finish(exit_code=status)
        for name in {*FOLDERS} - before:
            os.environ.pop(name, None)

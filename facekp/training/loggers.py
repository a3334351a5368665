"""Where curves go: `metrics.csv` in the run folder, and Weights & Biases by default."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import wandb
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import Logger

from facekp.classes import ATTRIBUTES
from facekp.config import Config, LoggerConfig, as_plain
from facekp.data.dataset import Batch
from facekp.data.normalisation import MEAN, STD
from facekp.models import fuse
from facekp.training.history import RunLog
from facekp.training.metrics import PER_CLASS
from facekp.training.module import FaceParsing
from facekp.training.resume import Resume, sweep_job
from facekp.training.sweep import job_name

BEST = {
    "train/loss": "min",
    "val/loss": "min",
    "val/miou": "max",
    "val/mean_f1": "max",
    "val/pixel_accuracy": "max",
}
"""Which value of a curve is its best."""
TIMEOUT = 20  # seconds that W&B gets to answer


def build_loggers(config: Config, resume: Resume | None) -> tuple[RunLog, list[Logger]]:
    """Return the run's own log, which every run has, and the loggers that the trainer is given.

    Args:
        config: the run's settings.
        resume: where it continues, or None.
    """
    folder = Path(config.output_dir)
    log = RunLog(folder, resume, keep_file=config.logger.name != "none")
    if config.logger.name != "wandb":
        return log, [log]
    return log, [log, build_wandb(config, resume)]


def build_wandb(config: Config, resume: Resume | None) -> WandbLogger:
    """Start the W&B run and return its logger; where W&B cannot be reached, offline, and one line says so.

    A resumed run goes on under its old id.
    """
    mode = _wanted_mode(config.logger)
    if mode == "online":
        reason = rank_zero_only(_login_failure)()
        if reason is None:
            try:
                return _start(config, resume, mode)
            except (wandb.errors.Error, OSError) as error:
                reason = str(error).splitlines()[0]
        print(
            f"W&B: {reason}, so this run is logged offline; "
            f"send it later with: wandb sync {config.output_dir}/wandb/offline-run-*"
        )
        mode = "offline"
    return _start(config, resume, mode)


@contextmanager
def closing_wandb(config: Config) -> Iterator[None]:
    """Close the W&B run at the end, as failed after an error: the next job of a multirun would write into it."""
    if config.logger.name != "wandb":
        yield
        return
    try:
        yield
    except BaseException:
        wandb.finish(exit_code=1)
        raise
    wandb.finish()


def _wanted_mode(config: LoggerConfig) -> Literal["online", "offline", "disabled"]:
    mode = os.environ.get("WANDB_MODE")
    if mode == "disabled":
        return "disabled"
    return "offline" if config.offline or mode in ("offline", "dryrun") else "online"


def _login_failure() -> str | None:
    """Return why W&B cannot be used, or None where it can."""
    try:
        return None if wandb.login(prompt=False, verify=True, timeout=TIMEOUT) else "no API key"
    except (wandb.errors.Error, OSError) as error:
        return str(error).splitlines()[0]


def _start(config: Config, resume: Resume | None, mode: Literal["online", "offline", "disabled"]) -> WandbLogger:
    c = config.logger
    sweep, job = _sweep_names()
    logger = WandbLogger(
        project=c.project,
        entity=c.entity,
        group=c.group or sweep,
        name=c.run_name or job or Path(config.output_dir).name,
        id=None if resume is None else _run_id(resume.folder),
        save_dir=config.output_dir,
        settings=wandb.Settings(silent=True, console="off", mode=mode, init_timeout=TIMEOUT),
    )
    rank_zero_only(_describe_run)(logger, config)
    return logger


def _run_id(folder: Path) -> str | None:
    """Return the id of the newest W&B run in a run folder; the folders' names end with it."""
    runs = sorted((folder / "wandb").glob("*run-*-*"), key=lambda path: path.stat().st_mtime)
    return runs[-1].name.rpartition("-")[2] if runs else None


class MaskPictures(Callback):
    """Send validation images with the true and the predicted mask, and a table of every class's scores.

    Args:
        count: how many images of the first validation batch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pictures: list[wandb.Image] = []

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the pictures of the first batch."""
        if batch_idx or not isinstance(pl_module, FaceParsing):
            return
        images, labels = batch["image"][: self.count], batch["label"][: self.count]
        heads = pl_module(images, auxiliary=False)
        predicted = fuse(heads.predict, (labels.shape[1], labels.shape[2])).argmax(1)
        names = dict(enumerate(ATTRIBUTES))
        mean, std = (images.new_tensor(v)[:, None, None] for v in (MEAN, STD))
        pixels = ((images * std + mean).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        self._pictures = [
            wandb.Image(
                picture,
                masks={
                    "truth": {"mask_data": truth, "class_labels": names},
                    "prediction": {"mask_data": guess, "class_labels": names},
                },
            )
            for picture, truth, guess in zip(
                pixels, labels.to(torch.uint8).cpu().numpy(), predicted.to(torch.uint8).cpu().numpy(), strict=True
            )
        ]

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send pictures and table."""
        scores = trainer.callback_metrics
        rows = [[name, *(float(scores[f"val/{kind}/{name}"]) for kind in PER_CLASS)] for name in ATTRIBUTES]
        content = {
            "val/images": self._pictures,
            "val/classes_table": wandb.Table(columns=["class", *PER_CLASS], data=rows),
            "trainer/global_step": trainer.global_step,
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.log(content)


def _describe_run(logger: WandbLogger, config: Config) -> None:
    run = logger.experiment
    run.config.update(as_plain(config), allow_val_change=True)
    # Summaries show the best of a run, not the last.
    # What is logged once, test/*, keeps W&B's own summary: the value.
    classes = {f"val/{kind}/{name}": "max" for kind in PER_CLASS for name in ATTRIBUTES}
    for name, best in (BEST | classes).items():
        run.define_metric(name, step_metric="trainer/global_step", summary=f"{best},last")


def _sweep_names() -> tuple[str | None, str | None]:
    """Return the names of the multirun and of this job in it, if there is one."""
    if (hydra := sweep_job()) is None:
        return None, None
    sweep = Path(hydra.sweep.dir)
    return sweep.name, job_name(sweep, list(hydra.overrides.task)) or str(hydra.job.num)

"""Where curves go: `metrics.csv` in the run folder, and Weights & Biases by default."""

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import wandb
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import Logger

from facekp.attributes import ATTRIBUTES
from facekp.config import Config, LoggerConfig, as_plain
from facekp.data.dataset import Batch
from facekp.data.transforms import MEAN, STD
from facekp.metrics import PER_CLASS
from facekp.models import fuse
from facekp.module import FaceParsing
from facekp.runlog import Resume, RunLog

LOGIN_TIMEOUT = 10  # seconds


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
    return log, [log, build_wandb(config)]


def build_wandb(config: Config) -> WandbLogger:
    """Return the W&B logger, in offline mode where there is no key or no network."""
    c = config.logger
    sweep, job = _sweep_names()
    offline = wandb_is_offline(c, config.output_dir)
    logger = WandbLogger(
        project=c.project,
        entity=c.entity,
        group=c.group or sweep,
        name=c.run_name or job or Path(config.output_dir).name,
        save_dir=config.output_dir,
        offline=offline,
        settings=wandb.Settings(silent=True, console="off", mode="offline" if offline else "online"),
    )
    rank_zero_only(_describe_run)(logger, config)
    return logger


def wandb_is_offline(config: LoggerConfig, folder: str) -> bool:
    """Tell whether a run has to be logged offline, and say so in one line."""
    if config.offline or os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return True
    try:
        reason = None if wandb.login(prompt=False, verify=True, timeout=LOGIN_TIMEOUT) else "no API key"
    except (wandb.errors.Error, OSError) as error:
        reason = str(error).splitlines()[0]
    if reason is None:
        return False
    rank_zero_only(print)(
        f"W&B: {reason}, so this run is logged offline; send it later with: wandb sync {folder}/wandb/offline-run-*"
    )
    return True


def finish_wandb(config: Config) -> None:
    """Close the W&B run: the next job of a multirun would write into it otherwise."""
    if config.logger.name == "wandb":
        wandb.finish()


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
        predicted = fuse(pl_module(images), (labels.shape[1], labels.shape[2])).argmax(1)
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
    for name, best in (("loss", "min"), ("miou", "max"), ("mean_f1", "max"), ("pixel_accuracy", "max")):
        run.define_metric(f"val/{name}", step_metric="trainer/global_step", summary=f"{best},last")


def _sweep_names() -> tuple[str | None, str | None]:
    """Return the names of the multirun and of this job in it, if there is one."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None, None
    hydra = HydraConfig.get()
    return Path(hydra.sweep.dir).name, hydra.job.override_dirname or str(hydra.job.num)

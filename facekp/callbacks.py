"""What watches a training run: checkpoints, speed, progress."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar

from facekp.config import Config
from facekp.data.dataset import Batch
from facekp.loggers import MaskPictures

CHECKPOINTS = "checkpoints"


def best_checkpoint(config: Config) -> Path:
    """Return where a run keeps its best checkpoint."""
    return Path(config.output_dir) / CHECKPOINTS / "best.ckpt"


def build_callbacks(config: Config) -> list[Callback]:
    """Return the callbacks that `config.callbacks` asks for."""
    folder = Path(config.output_dir) / CHECKPOINTS
    c = config.callbacks
    callbacks: list[Callback] = [
        Throughput(config.data.batch_size),
        # Two, because Lightning's `save_last` only follows when a new best is saved.
        BestCheckpoint(folder, "best", monitor=c.monitor, mode=c.mode, enable_version_counter=False),
        ModelCheckpoint(folder, "last", save_on_train_epoch_end=False, enable_version_counter=False),
    ]
    if config.logger.name == "wandb" and config.logger.images:
        callbacks.append(MaskPictures(config.logger.images))
    if c.patience is not None:
        callbacks.append(EarlyStopping(c.monitor, mode=c.mode, patience=c.patience))
    if c.progress:
        callbacks.append(TQDMProgressBar(refresh_rate=config.trainer.log_every))
    return callbacks


class BestCheckpoint(ModelCheckpoint):
    """Keep the best checkpoint of the whole run, also when it is resumed in another folder.

    Lightning forgets the best score there, so that the first validation after a resume would count as the best.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best checkpoint so far along into this run's folder."""
        old = Path(state_dict["best_model_path"])
        if self.dirpath is not None and state_dict["dirpath"] != self.dirpath and old.is_file():
            new = Path(self.dirpath) / old.name
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old, new)
            moved = {"dirpath": self.dirpath, "best_model_path": str(new), "kth_best_model_path": str(new)}
            state_dict = {**state_dict, **moved, "best_k_models": {str(new): state_dict["best_model_score"]}}
        super().load_state_dict(state_dict)


class Throughput(Callback):
    """Log `train/images_per_second`, over all processes, validation left out.

    Args:
        batch_size: images a step, over all processes.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._restart()

    def _restart(self) -> None:
        self._steps, self._since = 0, time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._restart()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock anew."""
        self._restart()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the rate since the last logged step."""
        self._steps += 1
        # Lightning logs the steps whose 1-based number is a multiple of log_every_n_steps.
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by its connector
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds = time.perf_counter() - self._since
            pl_module.log("train/images_per_second", self._steps * self.batch_size / seconds)
            self._restart()

"""Callbacks of a training run: checkpoints, averaged weights, mask pictures and cost."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    Timer,
    TQDMProgressBar,
    WeightAveraging,
)
from pytorch_lightning.trainer.states import TrainerFn

from facekp.cli import Progress
from facekp.config import Config
from facekp.data.dataset import Batch
from facekp.data.normalisation import MEAN, STD
from facekp.files import make_folder, replacing
from facekp.hardware import peak_memory, reset_peak_memory, return_freed_memory
from facekp.models import fuse
from facekp.training.folder import SETTINGS, Resume, record_settings
from facekp.training.loggers import TolerantWandbLogger
from facekp.training.rows import PER_CLASS
from facekp.weights.paths import BEST, CHECKPOINTS, LAST


def build_callbacks(config: Config, resume: Resume | None) -> list[Callback]:
    """Return the callbacks of a run; `resume` is the checkpoint that it continues from, or None."""
    folder, c = Path(config.output_dir) / CHECKPOINTS, config.callbacks

    def validate_after_the_last_step(trainer: pl.Trainer, *args: Any) -> None:  # `val_every` may miss it
        if trainer.global_step == trainer.max_steps - 1:
            trainer.val_check_batch = trainer.max_steps

    def keep_settings(trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[SETTINGS] = record_settings(config, trainer.datamodule.excluded_digest)  # type: ignore[attr-defined]

    callbacks: list[Callback] = [
        Cost(config.data.batch_size),
        *([TimeLimit(config.trainer.max_time)] if config.trainer.max_time else []),
        LambdaCallback(on_train_batch_start=validate_after_the_last_step, on_save_checkpoint=keep_settings),
        # Two, because Lightning's `save_last` saves only when there is a new best.
        BestCheckpoint(folder, c.monitor, c.mode, resume),
        ModelCheckpoint(folder, LAST, save_on_train_epoch_end=False, enable_version_counter=False),
    ]
    if config.logger.name == "wandb" and config.logger.images:
        callbacks.append(MaskPictures(config.logger.images))
    if config.optim.ema is not None:
        callbacks.append(AverageWeights(decay=config.optim.ema))
    if c.patience is not None:
        callbacks.append(EarlyStopping(c.monitor, mode=c.mode, patience=c.patience))
    if c.progress:
        terminal = sys.stderr.isatty()
        callbacks.append(TQDMProgressBar(refresh_rate=config.trainer.log_every) if terminal else ProgressLines())
    return callbacks


class ProgressLines(Callback):
    """Progress of training as a line now and then, for logs."""

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Begin at the step that the run continues from."""
        begun, hidden = trainer.global_step, not trainer.is_global_zero
        self._lines = Progress(total=trainer.max_steps, initial=begun, desc="training", unit="step", disable=hidden)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Count a step."""
        self._lines.update(trainer.global_step - self._lines.n)

    def on_validation_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Add the newest scores to the next line."""
        if not trainer.sanity_checking:
            scores = {name: float(trainer.callback_metrics[name]) for name in ("val/loss", "val/miou")}
            self._lines.set_postfix(scores, refresh=False)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the last line, however the run ends."""
        if hasattr(self, "_lines"):
            self._lines.close()


class AverageWeights(WeightAveraging):
    """Moving average of the weights and batch-norm statistics, which is validated, saved in checkpoints and tested.

    Lightning's `EMAWeightAveraging` averages tensor by tensor, a thousand small kernels a step on a GPU, and waits for
    the device to read a counter. Its base class would test a checkpoint's newest weights instead of the average, and
    leave the average on the CPU, where the module still is when the average is created. `decay` is the weight of the
    average so far; the newest weights have the rest.
    """

    def __init__(self, decay: float) -> None:
        def average(own: list[torch.Tensor], newest: list[torch.Tensor], count: torch.Tensor) -> None:
            if own[0].is_floating_point():
                torch._foreach_lerp_(own, newest, 1 - decay)
            else:  # batch-norm's counters
                torch._foreach_copy_(own, newest)

        super().__init__(multi_avg_fn=torch.no_grad()(average))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the average the module's device and precision; its counter stays on the CPU, which reads it."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device, next(pl_module.parameters()).dtype)
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_load_checkpoint(self, trainer: pl.Trainer, *args: Any) -> None:
        """Restore the average and the newest weights when a run continues."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, *args)


class BestCheckpoint(ModelCheckpoint):
    """Keep the best checkpoint of the whole run, even if it is resumed in another folder or was moved.

    Lightning would forget the best score then, and count the first validation after the resume as the best.
    """

    def __init__(self, folder: Path, monitor: str, mode: str, resume: Resume | None = None) -> None:
        super().__init__(folder, BEST, monitor=monitor, mode=mode, enable_version_counter=False)
        self._resume = resume

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy the best checkpoint so far into this run's folder."""
        # Only once: Lightning restores the callbacks again to test the best checkpoint.
        resume, self._resume = self._resume, None
        old = None if resume is None else resume.checkpoint.with_name(f"{BEST}.ckpt")
        if old is not None and old.is_file() and self.dirpath is not None:
            new = Path(self.dirpath) / old.name
            new.parent.mkdir(parents=True, exist_ok=True)
            if not (new.exists() and new.samefile(old)):
                rank_zero_only(shutil.copyfile)(old, new)
            moved = {"dirpath": self.dirpath, "best_model_path": str(new), "kth_best_model_path": str(new)}
            state_dict = {**state_dict, **moved, "best_k_models": {str(new): state_dict["best_model_score"]}}
        super().load_state_dict(state_dict)


class BesideCheckpointIO(TorchCheckpointIO):
    """Write each checkpoint to a temporary file beside it, then rename it.

    Lightning would use the folder for temporary files. That may be on another file system, which may be full, and from
    which a checkpoint is copied over the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; raise DataError if the folder cannot be written to, or the disk is full."""
        make_folder(Path(path).parent)
        with replacing(Path(path)) as part:
            torch.save(checkpoint, part)


class TimeLimit(Timer):
    """End training after `minutes`, validations included, and let the learning rate follow the time.

    The first step after the limit is the last; the validation after it comes on top. A resumed run's clock goes on.
    """

    def __init__(self, minutes: float) -> None:
        super().__init__(verbose=False)  # without a duration, it measures and ends nothing by itself
        self.seconds = 60 * minutes

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        """Tell the module the share of the time that is spent, and make this the last step when it is 1."""
        share = min(1.0, self.time_elapsed() / self.seconds)
        if trainer.world_size > 1:  # every process ends at the same step
            share = trainer.strategy.broadcast(share)
        pl_module.time_spent = share
        if share == 1:
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step + 1

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the time that is spent; older checkpoints have only the seconds."""
        super().load_state_dict({"time_elapsed": {"train": state_dict.get("spent", 0.0)}} | state_dict)


class MaskPictures(Checkpoint):
    """Log the first `count` validation images with true and predicted masks to W&B, and a table of class scores.

    Lightning calls a `Checkpoint` after all other callbacks, so that the checkpoints are written first.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pictures: list[Any] = []  # images (N, H, W, 3), true and predicted masks (N, H, W), uint8

    @rank_zero_only
    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, *args: Any
    ) -> None:
        """Keep the pictures of the first batch."""
        if batch_idx:
            return
        images, labels = batch["image"][: self.count], batch["label"][: self.count]
        heads = pl_module(images, auxiliary=False)
        predicted = fuse(heads.predict, (labels.shape[1], labels.shape[2])).argmax(1)
        mean, std = (images.new_tensor(v)[:, None, None] for v in (MEAN, STD))
        pixels = ((images * std + mean).clamp(0, 1) * 255).permute(0, 2, 3, 1)
        self._pictures = [tensor.to(torch.uint8).cpu().numpy() for tensor in (pixels, labels, predicted)]

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the pictures and the table."""
        names, scores, pictures = pl_module.classes.names, trainer.callback_metrics, []
        for logger in (logger for logger in trainer.loggers if isinstance(logger, TolerantWandbLogger)):
            with logger.tolerate:
                import wandb  # which may be absent

                for picture, *both in zip(*self._pictures, strict=True):
                    masks = [{"mask_data": mask, "class_labels": dict(enumerate(names))} for mask in both]
                    pictures.append(wandb.Image(picture, masks=dict(zip(("truth", "prediction"), masks, strict=True))))
                rows = [[name, *(float(scores[f"val/{kind}/{name}"]) for kind in PER_CLASS)] for name in names]
                shown = {"val/images": pictures, "val/classes_table": wandb.Table(["class", *PER_CLASS], rows)}
                logger.experiment.log(shown | {"trainer/global_step": trainer.global_step})


class Cost(Callback):
    """Log `train/images_per_second` of all processes, without validation, and `train/peak_memory` of one process.

    Memory is in MiB: on a CPU, that of the process without its loader workers; on a GPU, what torch allocated there.
    `batch_size` is the number of images per step, over all processes.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and reset the peak memory of earlier runs in this process."""
        return_freed_memory()
        reset_peak_memory()
        self.on_validation_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._steps, self._since = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the rate since the last logged step, and the memory."""
        self._steps += 1
        # Lightning logs the steps whose 1-based number is a multiple of log_every_n_steps.
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by its connector
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds = time.perf_counter() - self._since
            pl_module.log("train/images_per_second", self._steps * self.batch_size / seconds)
            pl_module.log("train/peak_memory", peak_memory(pl_module.device))
            self.on_validation_end(trainer, pl_module)

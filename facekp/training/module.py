"""The LightningModule that trains and evaluates a face parsing network."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.data.dataset import Batch
from facekp.errors import ConfigError
from facekp.losses import DeepSupervision, build_loss
from facekp.models import Heads, build_model
from facekp.training.metrics import SplitMetrics
from facekp.training.optim.build import build_optimizer
from facekp.weights.checkpoint import KEY, describe


class FaceParsing(pl.LightningModule):
    """A network, the sum of its heads' losses, its metrics and its optimiser.

    `train/loss`, `val/loss` and `test/loss` are the same quantity: the sum over all heads, auxiliary ones included.
    All arguments are plain data, so that a checkpoint loads without pickles.

    Args:
        model: `name` and settings for `build_model`.
        loss: `name` and settings for `build_loss`.
        optim: settings for `build_optimizer`.
        total_steps: optimiser steps of the whole run.
        size: side in pixels at which images are evaluated and predicted.
        compile: compile the network with `torch.compile`.
        classes: `Classes.to_plain` of those to predict; None for CelebAMask-HQ's.

    Attributes:
        classes: those to predict.
        terms: terms of use of the weights that training began with, which the trained ones keep; None without any.
        time_spent: share of a time limit that is spent, which the learning rate follows; 0 without one.
    """

    hparams: Any
    terms: str | None = None
    time_spent = 0.0

    def __init__(
        self,
        model: dict[str, Any],
        loss: dict[str, Any],
        optim: dict[str, Any],
        total_steps: int,
        size: int,
        compile: bool = False,  # the setting's name, as in Lightning and torch
        classes: list[str] | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # loggers receive the whole configuration
        # Convolutions are faster in channels_last, on CPUs and tensor cores alike.
        self.classes = CELEBAMASK_HQ if classes is None else Classes.from_plain(classes)
        self.net = build_model(**model, classes=len(self.classes)).to(memory_format=torch.channels_last)
        self.criterion = DeepSupervision(build_loss(**loss), self.net.head_names)
        names, known = self.net.head_names, self.classes
        self.val, self.test = (SplitMetrics(names, prefix, known) for prefix in ("val/", "test/"))
        self._build_optimizer(fused=False)  # raises for a bad setting before any data is read
        if compile:
            self.net.compile()

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score maps of `images` (N, 3, H, W) float, normalised; see `build_model`."""
        return self.net(images.contiguous(memory_format=torch.channels_last), auxiliary=auxiliary)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        losses, _ = self._step(batch)
        self.log("train/loss", losses["loss"].detach(), prog_bar=True)
        self.log_dict({f"train/{name}": loss.detach() for name, loss in losses.items() if name != "loss"})
        self.log("lr", float(self.trainer.optimizers[0].param_groups[0]["lr"]))
        return losses["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch."""
        losses, heads = self._step(batch)
        self.val.count(heads, batch["label"], losses)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch."""
        losses, heads = self._step(batch)
        self.test.count(heads, batch["label"], losses)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole split."""
        self.log_dict(self.val.compute())
        self.val.reset()

    def on_test_epoch_end(self) -> None:
        """Log the scores of the whole split."""
        self.log_dict(self.test.compute())
        self.test.reset()

    def _step(self, batch: Batch) -> tuple[dict[str, Tensor], Heads]:
        heads = self(batch["image"])
        return self.criterion(heads, batch["label"]), heads

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimiser and its schedule, which advances with every step."""
        optimizer, schedule = self._build_optimizer(fused=not self.trainer.gradient_clip_val)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _build_optimizer(self, fused: bool) -> tuple[Optimizer, LambdaLR]:
        steps, heads = self.hparams.total_steps, self.net.head_parts
        progress: Callable[[int], float] = lambda step: max(step, self.time_spent * steps)  # noqa: E731
        return build_optimizer(self.net, self.hparams.optim, progress, total_steps=steps, heads=heads, fused=fused)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the terms; raise ConfigError for a checkpoint of other classes than the data's."""
        own = self.classes.to_plain()
        if checkpoint[KEY]["classes"] != own:
            raise ConfigError("the data set's classes have changed since this run began: begin another one with init=")
        self.terms = checkpoint[KEY].get("terms")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description that prediction needs, as plain data."""
        checkpoint[KEY] = describe(self.hparams.model, self.hparams.size, self.hparams.loss, self.classes)
        if self.terms:
            checkpoint[KEY]["terms"] = self.terms

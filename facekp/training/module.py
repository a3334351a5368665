"""Training and evaluation of a face parsing network."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from facekp.data.dataset import Batch
from facekp.losses import DeepSupervision, OhemCrossEntropy
from facekp.models import Heads, build_model
from facekp.training.metrics import SplitMetrics
from facekp.training.optim import PolySchedule, build_sgd
from facekp.weights.checkpoint import KEY, describe


class FaceParsing(pl.LightningModule):
    """A network, the sum of its heads' losses, its metrics and its optimiser.

    `train/loss`, `val/loss` and `test/loss` are the same quantity: the sum over all heads, auxiliary ones included.
    All arguments are plain data, so that a checkpoint loads without pickles.

    Args:
        model: `name` and settings for `build_model`.
        loss: settings of `OhemCrossEntropy`.
        optim: `lr`, `momentum`, `weight_decay`, `head_lr_mult`, `warmup_steps`, `warmup_start`, `power`, ...
        total_steps: optimiser steps of the whole run.
        size: side in pixels at which images are evaluated; a prediction uses the same.
        compile: compile the network with `torch.compile`.
    """

    hparams: Any

    def __init__(
        self,
        model: dict[str, Any],
        loss: dict[str, Any],
        optim: dict[str, Any],
        total_steps: int,
        size: int,
        compile: bool = False,  # the setting's name, as in Lightning and torch
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # loggers are given the whole configuration
        # Convolutions are faster in channels_last, on CPUs and tensor cores alike.
        self.net = build_model(**model).to(memory_format=torch.channels_last)
        self.criterion = DeepSupervision(OhemCrossEntropy(**loss), self.net.head_names)
        self.val, self.test = (SplitMetrics(self.net.head_names, prefix) for prefix in ("val/", "test/"))
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
        """Return the losses of a batch and the score maps that they are of."""
        heads = self(batch["image"])
        return self.criterion(heads, batch["label"]), heads

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return SGD and its schedule, which advances with every step."""
        optim = self.hparams.optim
        settings = {key: optim[key] for key in ("lr", "momentum", "weight_decay", "head_lr_mult")}
        sgd = build_sgd(self.net, **settings, heads=self.net.head_parts, fused=not self.trainer.gradient_clip_val)
        schedule = PolySchedule(
            base=optim["lr"],
            total_steps=self.hparams.total_steps,
            **{key: optim[key] for key in ("warmup_steps", "warmup_start", "power")},
        )
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": LambdaLR(sgd, schedule), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what prediction needs to know, as plain data."""
        checkpoint[KEY] = describe(self.hparams.model, self.hparams.size)

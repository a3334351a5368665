"""Training and evaluation of a face parsing network."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from facekp.data.dataset import Batch
from facekp.losses.ohem import OhemCrossEntropy
from facekp.models import Network, build_model, fuse
from facekp.training.metrics import Evaluation
from facekp.training.optim import PolySchedule, build_sgd
from facekp.weights.checkpoint import KEY, describe


class FaceParsing(pl.LightningModule):
    """A network, the sum of its heads' OHEM losses, its metrics and its optimiser.

    Training adds up all the network's heads; evaluation those that it predicts with (see `build_model`).
    All arguments are plain data, so that a checkpoint loads without pickles.

    Args:
        model: `name` and settings for `build_model`.
        loss: settings of `OhemCrossEntropy`, and `fused`, the weight of the loss of the heads' sum.
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
        self.net: Network = build_model(**model).to(memory_format=torch.channels_last)
        self.fused = float(loss.get("fused", 0))
        self.criterion = OhemCrossEntropy(**{name: value for name, value in loss.items() if name != "fused"})
        self.val, self.test = Evaluation(self.criterion), Evaluation(self.criterion)
        if compile:
            self.net.compile()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the score maps of `images` (N, 3, H, W) float, normalised; see `build_model`."""
        scores: tuple[Tensor, ...] = self.net(images.contiguous(memory_format=torch.channels_last))
        return scores

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        maps: tuple[Tensor, ...] = self(batch["image"])
        losses = [self.criterion(scores, batch["label"]) for scores in maps]
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss.detach(), prog_bar=True)
        parts = zip(self.net.head_names, losses, strict=False)  # fewer where a user keeps the network in eval mode
        self.log_dict({f"train/loss_{name}": part.detach() for name, part in parts})
        self.log("lr", self._learning_rate())
        if not self.fused:
            return loss
        # At the finest map's resolution: the criterion brings the sum to the labels'.
        size = (maps[0].shape[2], maps[0].shape[3])
        summed = self.criterion(fuse(maps[: self.net.predicting], size), batch["label"])
        self.log("train/loss_fused", summed.detach())
        both: Tensor = loss + self.fused * summed
        return both

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch."""
        self.val.update(self(batch["image"]), batch["label"])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch."""
        self.test.update(self(batch["image"]), batch["label"])

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole split."""
        self.log_dict({f"val/{name}": value for name, value in self.val.compute().items()})

    def on_test_epoch_end(self) -> None:
        """Log the scores of the whole split."""
        self.log_dict({f"test/{name}": value for name, value in self.test.compute().items()})

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

    def _learning_rate(self) -> float:
        optimizers = self.trainer.optimizers
        return float(optimizers[0].param_groups[0]["lr"])

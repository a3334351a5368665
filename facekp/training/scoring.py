"""Scores of a network on labelled images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from facekp.classes import Classes
from facekp.cli import Progress
from facekp.data.dataset import Pixels
from facekp.data.normalisation import normalise
from facekp.losses import DeepSupervision, build_loss
from facekp.models import Heads, Network
from facekp.training.metrics import SplitMetrics
from facekp.training.rows import nest_scores
from facekp.weights.checkpoint import DEFAULT_LOSS


@dataclass(frozen=True, eq=False)
class Scorer:
    """A network, with what is needed to score it.

    Attributes:
        run: maps pixels (N, H, W, 3) uint8 RGB on `device` to score maps.
        size: side in pixels at which the network was evaluated in training.
        device: device of the score maps.
        criterion: the loss of the run that trained the network; None if its auxiliary heads are missing.
        classes: the classes of the labels.
        ids: their id for each class that it predicts, (C,) int64 on `device`; None if they are those of `classes`.
    """

    run: Callable[[Tensor], Heads]
    size: int
    device: torch.device
    criterion: DeepSupervision | None
    classes: Classes
    ids: Tensor | None = None

    @torch.inference_mode()
    def __call__(self, loader: DataLoader[Pixels]) -> dict[str, Any]:
        """Score the network on the images of a loader.

        Returns:
            `loss` (summed over heads, mean over images; None without a criterion), `loss_NAME` of every head, `miou`,
            `mean_f1`, `pixel_accuracy`, `classes`, and `iou` and `f1` by class; None for a class that is in no image.
        """
        metrics = SplitMetrics(self.criterion.names if self.criterion else None, classes=self.classes).to(self.device)
        for pixels in Progress(loader, unit="batch", desc="evaluating"):
            heads, labels = self.run(pixels["image"].to(self.device)), pixels["label"].to(self.device, torch.int64)
            metrics.count(heads, labels, self.criterion(heads, labels) if self.criterion else None, self.ids)
        row = {f"split/{name}": float(value) for name, value in metrics.compute().items()}
        return {"loss": None} | nest_scores(row, "split")


def network_scorer(net: Network, about: dict[str, Any], device: torch.device) -> Scorer:
    """Return the scorer of a network in evaluation mode; moves the network to `device` and runs it in float32.

    `about` is its checkpoint's description (`facekp.weights.checkpoint.describe`).
    """
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stub
    criterion = DeepSupervision(build_loss(**about.get("loss", DEFAULT_LOSS)), net.head_names).eval()
    classes = Classes.from_plain(about["classes"])
    return Scorer(lambda pixels: net(normalise(pixels)), int(about["size"]), device, criterion, classes)

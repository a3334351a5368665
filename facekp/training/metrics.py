"""Losses and scores of a whole split, in training and of a trained network; scores come from one confusion matrix."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.classification import multiclass_confusion_matrix

from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX, Classes
from facekp.cli import Progress
from facekp.data.dataset import Pixels
from facekp.data.normalisation import normalise
from facekp.losses import DeepSupervision, build_loss
from facekp.models import Heads, Network, fuse
from facekp.training.rows import PER_CLASS, nest_scores
from facekp.weights.checkpoint import DEFAULT_LOSS


class ParsingMetrics(Metric):
    """mIoU, mean F1, pixel accuracy, and IoU and F1 of every class.

    The confusion matrix is summed over images and processes before anything is divided.

    Args:
        classes: the classes of predictions and labels.
        kwargs: see `torchmetrics.Metric`.

    Example:
        >>> metrics = ParsingMetrics()
        >>> metrics.update(torch.tensor([[[0, 1], [1, 2]]]), torch.tensor([[[0, 1], [2, 2]]]))
        >>> metrics.compute()["pixel_accuracy"].item()
        0.75
    """

    confusion: Tensor

    def __init__(self, classes: Classes = CELEBAMASK_HQ, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        counts = torch.zeros(len(classes), len(classes), dtype=torch.int64)
        self.add_state("confusion", counts, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        """Count the pixels of a batch, (N, H, W) int64 ids; pixels of label 255 do not count."""
        # `read_label` has already checked the labels; checking here would sort every pixel.
        self.confusion += multiclass_confusion_matrix(
            predicted, labels, len(self.classes), ignore_index=IGNORE_INDEX, validate_args=False
        )

    def compute(self) -> dict[str, Tensor]:
        """Return the scores; see `scores_from_confusion`."""
        return scores_from_confusion(self.confusion, self.classes)


class MeanLosses(Metric):
    """Mean over images of the losses `names` of a criterion such as `DeepSupervision`.

    Lightning's mean rounds the number of images when processes have different numbers.
    """

    total: Tensor
    images: Tensor

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = tuple(names)
        self.add_state("total", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, losses: Mapping[str, Tensor], labels: Tensor) -> None:
        """Add a batch's losses, scalars by name, weighted by its images; images of label 255 alone do not count."""
        images = (labels != IGNORE_INDEX).flatten(1).any(1).sum()
        self.total += torch.stack([losses[name].detach().double() for name in self.names]) * images
        self.images += images

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of every loss, float32; nan if no image counts."""
        return dict(zip(self.names, (self.total / self.images).float().unbind(), strict=True))


class SplitMetrics(MetricCollection):
    """The mean losses of the `heads` and of their sum (None: no losses), and the scores of a split.

    The names that `compute` returns begin with `prefix`, such as "val/".
    """

    def __init__(self, heads: Sequence[str] | None, prefix: str = "", classes: Classes = CELEBAMASK_HQ) -> None:
        metrics: dict[str, Metric | MetricCollection] = {"scores": ParsingMetrics(classes)}
        if heads is not None:
            metrics["losses"] = MeanLosses(["loss", *(f"loss_{name}" for name in heads)])
        super().__init__(metrics, prefix=prefix)

    def count(
        self, heads: Heads, labels: Tensor, losses: Mapping[str, Tensor] | None = None, ids: Tensor | None = None
    ) -> None:
        """Add a batch: its score maps (only those that predict are scored), labels, and losses by name.

        `ids` are the labels' id for each class that is predicted, if they differ.
        """
        predicted = fuse(heads.predict, (labels.shape[1], labels.shape[2])).argmax(1)
        predicted = predicted if ids is None else ids[predicted]
        self.update(predicted=predicted, labels=labels, losses=losses)


def scores_from_confusion(confusion: Tensor, classes: Classes = CELEBAMASK_HQ) -> dict[str, Tensor]:
    """Return the scores of a confusion matrix (C, C) of counts, rows truth, columns prediction.

    A class absent from both truth and prediction has no IoU or F1 (nan) and is excluded from the means.

    Returns:
        Scalars in 0..1: `miou` (all classes), `mean_f1` (all but background), `pixel_accuracy`, `iou/NAME` and
        `f1/NAME`; and `classes`, the number of classes in `miou`.
    """
    counts = confusion.double()
    hit, truth, predicted = counts.diag(), counts.sum(1), counts.sum(0)
    # 0 / 0 gives nan, which marks an absent class.
    iou = hit / (truth + predicted - hit)
    f1 = 2 * hit / (truth + predicted)
    scores = {"miou": iou.nanmean(), "mean_f1": f1[1:].nanmean(), "pixel_accuracy": hit.sum() / counts.sum()}
    scores["classes"] = (~iou.isnan()).sum()
    for kind, values in zip(PER_CLASS, (iou, f1), strict=True):
        scores |= {f"{kind}/{name}": value for name, value in zip(classes.names, values, strict=True)}
    return {name: value.to(torch.float32) for name, value in scores.items()}


@dataclass(frozen=True, eq=False)
class Scorer:
    """A network, with what is needed to score it."""

    run: Callable[[Tensor], Heads]  # maps pixels (N, H, W, 3) uint8 RGB on `device` to score maps
    size: int  # side in pixels at which the network was evaluated in training
    device: torch.device  # that of the score maps
    criterion: DeepSupervision | None  # of the run that trained the network; None if its auxiliary heads are missing
    classes: Classes  # those of the labels
    ids: Tensor | None = None  # the labels' for each class that is predicted, (C,) int64 on `device`, if they differ

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

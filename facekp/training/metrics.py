"""Loss and scores of a whole split: mIoU, F1 and accuracy from one confusion matrix."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from facekp.classes import ATTRIBUTES, IGNORE_INDEX, NUM_CLASSES
from facekp.losses.ohem import OhemCrossEntropy
from facekp.models import fuse

PER_CLASS = ("iou", "f1")
"""Scores that exist for every class, as `iou/nose`."""


class ParsingMetrics(MulticlassConfusionMatrix):
    """mIoU, mean F1, pixel accuracy, and IoU and F1 of every class.

    `update(predicted, labels)` takes (N, H, W) int ids, labels with 255 where nothing counts. The confusion matrix is
    summed over images and processes before anything is divided.
    """

    def __init__(self, **kwargs: Any) -> None:
        # `read_label` has checked the labels already; checking here sorts every pixel.
        super().__init__(NUM_CLASSES, ignore_index=IGNORE_INDEX, validate_args=False, **kwargs)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]  # the base class returns the matrix itself
        """Return the scores; see `scores_from_confusion`."""
        return scores_from_confusion(super().compute())


class Evaluation(nn.Module):
    """What training and `python -m facekp.evaluate` score a network with; over several processes it sums up.

    Args:
        criterion: the loss of one head.
    """

    def __init__(self, criterion: OhemCrossEntropy) -> None:
        super().__init__()
        self.criterion = criterion
        self.metrics = ParsingMetrics()
        # Lightning's own mean rounds the number of images when several processes have different ones.
        self.loss = MeanMetric()

    def update(self, scores: Sequence[Tensor], labels: Tensor) -> None:
        """Count one batch.

        Args:
            scores: (N, 19, h, w) float of each head.
            labels: (N, H, W) int64, official ids or 255; an image of 255 alone does not count.
        """
        loss = torch.stack([self.criterion(s, labels) for s in scores]).sum()
        self.loss.update(loss, weight=int((labels != IGNORE_INDEX).flatten(1).any(1).sum()))
        self.metrics.update(fuse(scores, (labels.shape[1], labels.shape[2])).argmax(1), labels)

    def compute(self) -> dict[str, Tensor]:
        """Return `loss` (summed over heads, mean over images) and what `ParsingMetrics` gives, and start anew."""
        scores = {"loss": self.loss.compute(), **self.metrics.compute()}
        self.loss.reset()
        self.metrics.reset()
        return scores


def scores_from_confusion(confusion: Tensor) -> dict[str, Tensor]:
    """Turn a confusion matrix into scores.

    A class absent from both truth and prediction has no IoU or F1 (nan) and is left out of the means.

    Args:
        confusion: (C, C) counts, rows truth, columns prediction.

    Returns:
        Scalars in 0..1: `miou` (all classes), `mean_f1` (all but background), `pixel_accuracy`, `iou/NAME` and
        `f1/NAME`; and `classes`, how many classes `miou` averages.
    """
    counts = confusion.double()
    hit, truth, predicted = counts.diag(), counts.sum(1), counts.sum(0)
    # 0 / 0 gives nan, which marks an absent class.
    iou = hit / (truth + predicted - hit)
    f1 = 2 * hit / (truth + predicted)
    scores = {
        "miou": iou.nanmean(),
        "mean_f1": f1[1:].nanmean(),
        "pixel_accuracy": hit.sum() / counts.sum(),
        "classes": (~iou.isnan()).sum(),
    }
    for kind, values in zip(PER_CLASS, (iou, f1), strict=True):
        scores |= {f"{kind}/{name}": value for name, value in zip(ATTRIBUTES, values, strict=True)}
    return {name: value.to(torch.float32) for name, value in scores.items()}


def nest_scores(row: dict[str, float], split: str) -> dict[str, Any]:
    """Turn `{"val/miou": .., "val/iou/nose": .., ...}` into `{"miou": .., "iou": {"nose": ..}}` of `finite` values."""
    prefix = f"{split}/"
    plain = {name.removeprefix(prefix): finite(value) for name, value in row.items() if name.startswith(prefix)}
    nested: dict[str, Any] = {"step": int(row["step"])} if "step" in row else {}
    nested |= {name: value for name, value in plain.items() if "/" not in name}
    for kind in PER_CLASS:
        nested[kind] = {name: plain.get(f"{kind}/{name}") for name in ATTRIBUTES}
    return nested


def finite(value: float) -> float | None:
    """Return `value` with 6 decimals, or None, as JSON has neither nan nor infinity."""
    return round(value, 6) if math.isfinite(value) else None

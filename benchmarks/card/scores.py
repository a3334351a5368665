"""What a network sees in labelled faces, counted for every image, and the scores that the counts give."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_confusion_matrix
from tqdm import tqdm

from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.data.dataset import Pixels
from facekp.models import Heads, fuse
from facekp.training.metrics import nest_scores, scores_from_confusion

Network = Callable[[Tensor], Heads]
Counts = npt.NDArray[np.int64]
"""Confusion matrices (..., 19, 19), rows ground truth, columns prediction."""
Floats = npt.NDArray[np.float64]
Members = npt.NDArray[np.bool_]


class Parsed(NamedTuple):
    """A batch of faces: `photos` (N, H, W, 3) uint8 RGB, `labels` (N, H, W) int64, ids or 255, and `masks`, ids."""

    photos: Tensor
    labels: Tensor
    masks: Tensor


def parse(net: Network, loader: DataLoader[Pixels], device: torch.device) -> Iterator[Parsed]:
    """Yield what a network sees in every batch, as evaluation has it: the argmax of the heads' upsampled sum."""
    for pixels in tqdm(loader, unit="batch", desc="parsing"):
        photos, labels = pixels["image"].to(device), pixels["label"].to(device, torch.int64)
        with torch.inference_mode():
            masks = fuse(net(photos).predict, (labels.shape[1], labels.shape[2])).argmax(1)
        yield Parsed(photos, labels, masks)


def count_images(parsed: Iterator[Parsed]) -> Counts:
    """Return the confusion matrix of every image (n, 19, 19), in order."""
    matrices = [
        multiclass_confusion_matrix(mask, label, NUM_CLASSES, ignore_index=IGNORE_INDEX, validate_args=False).cpu()
        for batch in parsed
        for mask, label in zip(batch.masks, batch.labels, strict=True)
    ]
    return np.asarray(torch.stack(matrices).numpy(), np.int64)


def score(confusions: Counts) -> dict[str, Any]:
    """Return the scores of images (n, 19, 19) together, as `python -m facekp.evaluate` writes them; no loss."""
    scores = scores_from_confusion(torch.from_numpy(confusions.sum(0)))
    return nest_scores({f"all/{name}": float(value) for name, value in scores.items()}, "all")


def class_scores(confusions: Counts | Floats) -> tuple[Floats, Floats]:
    """Return F1 and IoU of every class, each (..., 19), of every matrix (..., 19, 19) by itself.

    nan where a class is neither in the ground truth nor in the prediction; F1 of background is nan, as no mean has it.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
    both = (confusions.sum(-1) + confusions.sum(-2)).astype(np.float64)
    both[both == 0] = np.nan
    f1, iou = 2 * hits / both, hits / (both - hits)
    f1[..., 0] = np.nan
    return f1, iou


def mean_score(scores: Floats) -> Floats:
    """Return the mean (...) over those of the classes (..., n) that have a score; nan where none has, unwarned."""
    count = np.isfinite(scores).sum(-1)
    return np.asarray(np.nansum(scores, axis=-1) / np.where(count > 0, count, np.nan), np.float64)


def image_scores(confusions: Counts) -> Floats:
    """Return every image's score (n,): the mean F1 of its classes in ground truth or prediction; 1 where is none."""
    return np.nan_to_num(mean_score(class_scores(confusions)[0]), nan=1.0)

"""OHEM cross entropy plus Dice, which gives a small class as much weight as a large one."""

from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekp.classes import IGNORE_INDEX
from facekp.losses.fused import try_triton
from facekp.losses.ohem import OhemCrossEntropy
from facekp.losses.registry import register_loss


@register_loss("ohem_dice")
class OhemDice(nn.Module):
    """`OhemCrossEntropy` plus `dice` times one minus the Dice coefficient, averaged over the classes in the batch.

    Dice is computed at the score map's own resolution, against the share of each class in the pixels that a score
    covers: at full resolution it would take most of the step.

    Shape:
        scores: (N, C, h, w) float, any resolution; it need not divide the labels'.
        labels: (N, H, W) int64, ids in 0..C-1 or the ignore index.
        Returns: scalar, float32.

    Args:
        threshold: see `OhemCrossEntropy`.
        min_kept: see `OhemCrossEntropy`.
        dice: weight of the Dice term, at least 0.

    Raises:
        ValueError: an argument out of its range.

    Reference: Milletari et al. 2016, arXiv:1606.04797, section 3.
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16, dice: float = 1.0) -> None:
        super().__init__()
        if dice < 0:
            raise ValueError(f"loss.dice is {dice}: give at least 0, such as 1")
        self.ohem = OhemCrossEntropy(threshold, min_kept)
        self.dice = dice

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of both terms; see the class for shapes."""
        loss: Tensor = self.ohem(scores, labels)
        return loss + self.dice * dice_loss(scores, labels)


def dice_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return one minus the Dice coefficient, averaged over the classes in the labels; 0 if no pixel is valid.

    For shapes see `OhemDice`.
    """
    with torch.autocast(scores.device.type, enabled=False):
        shares = class_shares(labels, *scores.shape[1:])
        predicted = scores.float().softmax(1) * shares.sum(1, keepdim=True)
        overlap, total = (2 * predicted * shares).sum((0, 2, 3)), (predicted + shares).sum((0, 2, 3))
        present = shares.sum((0, 2, 3)) > 0
        loss = (1 - overlap / total.where(present, 1)) * present  # a mask, not an index: no wait for a GPU
        return loss.sum() / present.sum().clamp(min=1)


def class_shares(labels: Tensor, classes: int, height: int, width: int) -> Tensor:
    """Return the share of each class in the pixels of each cell of a grid, (N, classes, height, width) float32.

    `labels` are (N, H, W) int64; ignored pixels count in no class. Where the grid does not divide the labels, cells
    overlap as in adaptive pooling.
    """
    n, rows, columns = labels.shape
    whole = rows % height == 0 and columns % width == 0
    if whole and columns // width in (1, 2, 4, 8, 16, 32):
        kernel = "facekp.losses.share_kernel"  # imports Triton, so not everywhere
        fused: Tensor | None = try_triton(
            lambda: import_module(kernel).count_shares(labels, classes, height, width, IGNORE_INDEX), labels.device
        )
        if fused is not None:
            return fused
    valid = labels != IGNORE_INDEX
    targets = labels.where(valid, 0)
    if not whole:
        one_hot = torch.zeros(n, classes, rows, columns, device=labels.device)
        one_hot.scatter_(1, targets[:, None], valid[:, None].float())
        return F.adaptive_avg_pool2d(one_hot, (height, width))
    # Counted cell by cell, without a tensor of every class at full resolution.
    y, x = (
        torch.arange(side, device=labels.device) // (side // cells)
        for side, cells in ((rows, height), (columns, width))
    )
    image = torch.arange(n, device=labels.device)[:, None, None]
    cell = ((image * classes + targets) * height + y[:, None]) * width + x
    counts = torch.zeros(n * classes * height * width, device=labels.device)
    counts.scatter_add_(0, cell.flatten(), valid.flatten().float())
    return counts.view(n, classes, height, width) / (rows // height * (columns // width))

"""The mined loss by its definition, and random scores for it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def reference(scores: Tensor, labels: Tensor, threshold: float = 0.7, min_kept: float = 1 / 16) -> Tensor:
    """Return the loss by its definition, in the precision of `scores`."""
    up = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
    losses = F.cross_entropy(up, labels, ignore_index=255, reduction="none")[labels != 255]
    if len(losses) == 0:
        return scores.sum() * 0
    ranked = losses.sort(descending=True).values
    n_min = max(1, math.floor(min_kept * len(ranked)))
    above = ranked[ranked > -math.log(threshold)]
    return above.mean() if len(above) >= n_min else ranked[:n_min].mean()


def value_and_gradient(function: object, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.detach().clone().requires_grad_()
    loss = function(leaf, labels)
    loss.backward()
    return loss.detach(), leaf.grad


def random_case(n: int, h: int, w: int, height: int, width: int, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    """Return float64 scores (n, 19, h, w) that float32 can hold, and labels with 10 % ignored pixels."""
    scores = (torch.randn(n, 19, h, w) * spread).double()
    labels = torch.randint(0, 19, (n, height, width))
    labels[torch.rand(n, height, width) < 0.1] = 255
    return scores, labels

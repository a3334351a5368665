"""OHEM cross entropy plus the Lovász-softmax loss, a surrogate of one minus the mean IoU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekp.classes import IGNORE_INDEX
from facekp.losses.ohem import OhemCrossEntropy
from facekp.losses.registry import register_loss


@register_loss("ohem_lovasz")
class OhemLovasz(nn.Module):
    """`OhemCrossEntropy` plus `lovasz` times the Lovász-softmax loss of the classes in the batch.

    The second term is computed at the score map's own resolution, against the label at the centre of each score: at
    full resolution it would sort every pixel once for each class.

    Shape:
        scores: (N, C, h, w) float, any resolution; it need not divide the labels'.
        labels: (N, H, W) int64, ids in 0..C-1 or the ignore index.
        Returns: scalar, float32.

    Args:
        threshold: see `OhemCrossEntropy`.
        min_kept: see `OhemCrossEntropy`.
        lovasz: weight of the second term, at least 0.

    Raises:
        ValueError: an argument out of its range.

    Reference: Berman et al. 2018, arXiv:1705.08790.
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16, lovasz: float = 1.0) -> None:
        super().__init__()
        if lovasz < 0:
            raise ValueError(f"loss.lovasz is {lovasz}: give at least 0, such as 1")
        self.ohem = OhemCrossEntropy(threshold, min_kept)
        self.lovasz = lovasz

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of both terms; see the class for shapes."""
        loss: Tensor = self.ohem(scores, labels)
        return loss + self.lovasz * lovasz_softmax(scores, labels)


def lovasz_softmax(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the Lovász-softmax loss, averaged over the classes in the labels; 0 if no pixel is valid.

    For shapes see `OhemLovasz`.
    """
    size = (scores.shape[2], scores.shape[3])
    with torch.autocast(scores.device.type, enabled=False):
        near = F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0].flatten()
        own = near == torch.arange(scores.shape[1], device=scores.device)[:, None]  # (C, P)
        probability = scores.float().softmax(1).movedim(1, 0).flatten(1)
        # Ignored pixels come last, with an error of 0.
        errors, order = ((own.float() - probability).abs() * (near != IGNORE_INDEX)).sort(1, descending=True)
        own_sorted = own.gather(1, order)
        total = own.sum(1, keepdim=True)
        # One minus the IoU if the pixels up to each, in this order, were all wrong.
        jaccard = 1 - (total - own_sorted.cumsum(1)) / (total + (~own_sorted).cumsum(1))
        present = total[:, 0] > 0
        loss = (errors * jaccard.diff(dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))).sum(1)
        return (loss * present).sum() / present.sum().clamp(min=1)

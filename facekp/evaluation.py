"""Loss and scores of a whole split, added up batch by batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from facekp.attributes import IGNORE_INDEX
from facekp.losses import OhemCrossEntropy
from facekp.metrics import ParsingMetrics
from facekp.models import fuse


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

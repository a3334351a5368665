"""Registry of losses, and their sum over the heads of a network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from facekp.models.heads import Heads
from facekp.registry import Registry

LOSSES = Registry[Callable[..., nn.Module]]("loss.name", "facekp.losses")
register_loss = LOSSES.register  # decorator that makes a loss class available to `build_loss` and to `loss=NAME`


def build_loss(name: str, **settings: Any) -> nn.Module:
    """Build a registered loss with its own settings.

    Returns:
        A module with `loss(scores, labels) -> scalar`: scores (N, C, h, w) float at any resolution, labels (N, H, W)
        int64, ids in 0..C-1 or 255 for pixels to ignore.

    Raises:
        ConfigError: an unknown name or setting, or a value that the loss rejects.

    Example:
        >>> build_loss("ohem", threshold=0.8).threshold
        0.8
    """
    loss: nn.Module = LOSSES.build(name, settings)
    return loss


class DeepSupervision(nn.Module):
    """The sum of one criterion over all heads, predicting and auxiliary ones.

    Shape:
        heads: score maps (N, C, h, w) float.
        labels: (N, H, W) int64, ids or the criterion's ignore index.
        Returns: scalars: `loss`, the sum, and `loss_NAME` of every head.

    Args:
        criterion: loss of one score map against the labels.
        names: names of the heads, in the order of `Heads.maps` (`Network.head_names`).

    Raises:
        ValueError: more or fewer names than heads.

    Reference: Lee et al. 2015, arXiv:1409.5185.
    """

    def __init__(self, criterion: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.criterion = criterion
        self.names = tuple(names)

    def forward(self, heads: Heads, labels: Tensor) -> dict[str, Tensor]:
        """Return the sum and its parts; see the class for shapes."""
        parts = [self.criterion(scores, labels) for scores in heads.maps]
        keys = [f"loss_{name}" for name in self.names]
        return {"loss": torch.stack(parts).sum(), **dict(zip(keys, parts, strict=True))}

"""Registry of losses."""

from collections.abc import Callable
from typing import Any

from torch import nn

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

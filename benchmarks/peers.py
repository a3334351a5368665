"""What ours is measured against: losses as public trainers write them, and networks that others use."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.errors import ConfigError
from facekp.models import build_model


class PeerMissingError(Exception):
    """A peer that is not installed; the message says how to get it."""


class SortOhem(nn.Module):
    """OHEM cross entropy as public BiSeNet trainers wrote it: upsample everything, sort every pixel's loss.

    The arguments, shapes and value are those of `facekp.losses.ohem.OhemCrossEntropy`.

    Reference: `OhemCELoss` in github.com/CoinCheung/BiSeNet's first loss.py, which many have copied.
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        self.cut = -math.log(threshold)
        self.min_kept = min_kept
        self.ignore_index = ignore_index

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of `scores` (N, C, h, w) against `labels` (N, H, W)."""
        losses, n_min = self._losses(scores, labels)
        losses = losses.sort(descending=True).values
        return losses[losses > self.cut].mean() if losses[n_min] > self.cut else losses[:n_min].mean()

    def _losses(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        """Return every pixel's loss, 0 where it is ignored, and how many are kept at least."""
        up = F.interpolate(scores, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        losses = F.cross_entropy(up, labels, reduction="none", ignore_index=self.ignore_index).flatten()
        return losses, max(1, int((labels != self.ignore_index).sum().item() * self.min_kept))


class TopkOhem(SortOhem):
    """The same without the sort: `topk`, and only where it is needed.

    Reference: `OhemCELoss` in github.com/CoinCheung/BiSeNet's lib/ohem_ce_loss.py, which came later.
    """

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of `scores` (N, C, h, w) against `labels` (N, H, W)."""
        losses, n_min = self._losses(scores, labels)
        hard = losses[losses > self.cut]
        return hard.mean() if len(hard) >= n_min else losses.topk(n_min).values.mean()


def bisenet() -> nn.Module:
    """Return BiSeNet with a ResNet18: one head that predicts and two auxiliary ones.

    Raises:
        PeerMissingError: this facekp has no such network.
    """
    try:
        return build_model("bisenet")
    except ConfigError as error:
        raise PeerMissingError(f"this facekp has no BiSeNet ({error})") from error


def smp_unet() -> nn.Module:
    """Return segmentation-models-pytorch's U-Net with a ResNet18: one score map at the images' resolution.

    Raises:
        PeerMissingError: segmentation-models-pytorch is not installed.
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise PeerMissingError("segmentation-models-pytorch is not installed: pip install -e '.[bench]'") from error
    net: nn.Module = smp.Unet("resnet18", encoder_weights=None, classes=NUM_CLASSES)
    return net

"""Augmentation and normalisation, in albumentations."""

import random
from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facekp.classes import mirror_table
from facekp.data.defects import defects, turn
from facekp.data.view import TrainingView

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class MirrorFace(A.HorizontalFlip):  # type: ignore[misc]  # albumentations has no types
    """Horizontal flip that also swaps the left and right eyes, brows and ears of the label map."""

    _table = mirror_table()

    def apply_to_mask(self, mask: npt.NDArray[Any], *args: Any, **params: Any) -> npt.NDArray[Any]:
        """Flip (H, W) uint8 class ids and rename those that have a side."""
        mirrored: npt.NDArray[Any] = self._table[super().apply_to_mask(mask, *args, **params)]
        return mirrored


class ChooseScale(A.RandomScale):  # type: ignore[misc]  # as above
    """Scale by one of a few factors, each as likely as the others."""

    def __init__(self, factors: Sequence[float], p: float = 1.0) -> None:
        super().__init__(
            scale_limit=(min(factors) - 1, max(factors) - 1),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST_EXACT,
            p=p,
        )
        self.factors = tuple(factors)

    def get_params(self) -> dict[str, Any]:
        """Draw the factor."""
        return {"scale": self.py_random.choice(self.factors)}


class Pipeline(A.Compose):  # type: ignore[misc]  # as above
    """Transforms that draw their random numbers one after the other from one stream.

    With `A.Compose` every transform starts a stream of its own from the same seed, so that all draw the same numbers:
    the draw that mirrors an image would also choose its scale and its crop.
    """

    def set_random_seed(self, seed: int | None) -> None:
        """Start the stream."""
        self.seed = seed
        self.set_random_state(np.random.default_rng(seed), random.Random(seed))


def training_transform(
    size: int,
    crop: int,
    *,
    scales: Sequence[float],
    jitter: float,
    flip: float,
    rotate: float = 0.0,
    degrade: float = 0.0,
) -> A.Compose:
    """Return the training pipeline: resize, colour jitter, mirror, scale, crop, and where asked for turn and degrade.

    Args:
        size: side that images are brought to, pixels.
        crop: as in `TrainingView`.
        scales: as there.
        jitter: as there.
        flip: as there.
        rotate: largest angle that a crop is turned by, degrees.
        degrade: share of the crops that get a defect, see `defects`.

    Returns:
        A pipeline from `image` (H, W, 3) uint8 RGB and `mask` (H, W) uint8 to `image` (crop, crop, 3) uint8 and `mask`
        (crop, crop) uint8, 255 where nothing is known.
    """
    steps = [_resize(size), TrainingView(crop, scales=scales, jitter=jitter, flip=flip)]
    if rotate:
        steps.append(turn(rotate))
    if degrade:
        steps.append(defects(degrade))
    return Pipeline(steps)


def evaluation_transform(size: int) -> A.Compose:
    """Return the evaluation pipeline: the whole image at `size` x `size`, uint8."""
    return A.Compose([_resize(size)])


def normalise(images: Tensor) -> Tensor:
    """Return pixels as networks take them, on the device where they are.

    Args:
        images: (N, H, W, 3) uint8 RGB.

    Returns:
        (N, 3, H, W) float32 in channels_last, with the training mean and deviation taken out.
    """
    width = images.shape[2]
    mean, std = (torch.tensor(v, device=images.device).repeat(width) for v in (MEAN, STD))
    scale, shift = 1 / (255 * std), -mean / std
    # Rows of W * 3 numbers: an innermost loop over three channels would take several times as long.
    rows = images.flatten(2)
    out = torch.empty(rows.shape, dtype=torch.float32, device=images.device)
    for target, source in zip(out, rows, strict=True):  # one by one, which a processor's cache holds
        torch.addcmul(shift, target.copy_(source), scale, out=target)
    return out.view(images.shape).permute(0, 3, 1, 2)


def denormalise(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the pixels (..., 3) uint8 RGB that `normalise` made float32 of: the very same ones."""
    pixels: npt.NDArray[np.uint8] = np.rint(
        (images * np.array(STD, np.float32) + np.array(MEAN, np.float32)) * 255
    ).astype(np.uint8)
    return pixels


def _resize(size: int) -> A.Resize:
    return A.Resize(size, size, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST_EXACT)

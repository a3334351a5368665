"""Augmentation and normalisation, in albumentations."""

import random
from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt
from albumentations.pytorch import ToTensorV2

from facekp.attributes import IGNORE_INDEX, mirror_table

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


def training_transform(size: int, crop: int, *, scales: Sequence[float], jitter: float, flip: float) -> A.Compose:
    """Return the training pipeline: resize, colour jitter, mirror, scale, crop, normalise.

    Args:
        size: side in pixels that images are brought to first.
        crop: side in pixels of the result; where the scaled image is smaller, the label is padded with 255.
        scales: scale factors, one of which is drawn.
        jitter: brightness, contrast and saturation are each multiplied by a factor in [1 - jitter, 1 + jitter].
        flip: probability of mirroring.

    Returns:
        A pipeline from `image` (H, W, 3) uint8 RGB and `mask` (H, W) uint8 to `image` (3, crop, crop) float32 tensor
        and `mask` (crop, crop) uint8 tensor.
    """
    return Pipeline(
        [
            _resize(size),
            A.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter, hue=0, p=1 if jitter else 0),
            MirrorFace(p=flip),
            ChooseScale(scales),
            A.RandomCrop(
                crop, crop, pad_if_needed=True, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=IGNORE_INDEX
            ),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )


def evaluation_transform(size: int) -> A.Compose:
    """Return the evaluation pipeline: the whole image at `size` x `size`, normalised."""
    return A.Compose([_resize(size), A.Normalize(MEAN, STD), ToTensorV2()])


def normalise(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return `image` (H, W, 3) uint8 RGB as float32 with the training mean and deviation taken out."""
    normalised: npt.NDArray[np.float32] = A.Normalize(MEAN, STD)(image=image)["image"]
    return normalised


def denormalise(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return the pixels (..., 3) uint8 RGB that `normalise` made float32 of: the very same ones."""
    pixels: npt.NDArray[np.uint8] = np.rint(
        (images * np.array(STD, np.float32) + np.array(MEAN, np.float32)) * 255
    ).astype(np.uint8)
    return pixels


def _resize(size: int) -> A.Resize:
    return A.Resize(size, size, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST_EXACT)

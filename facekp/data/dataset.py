"""Labelled faces as tensors."""

from collections.abc import Sequence
from typing import TypedDict

import albumentations as A
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facekp.attributes import IGNORE_INDEX
from facekp.data.layout import Sample
from facekp.data.stream import BLANK, Draw
from facekp.errors import DataError
from facekp.images import read_image, read_label


class Batch(TypedDict):
    """What a loader gives: `image` (N, 3, H, W) float32, normalised; `label` (N, H, W) int64, ids or 255."""

    image: Tensor
    label: Tensor


class FaceDataset(Dataset[Batch]):
    """Samples of a prepared data set, each transformed from its own seed.

    Args:
        samples: what to read.
        transform: a pipeline of `facekp.data.transforms`.
    """

    def __init__(self, samples: Sequence[Sample], transform: A.Compose) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Batch:
        """Return `image` (3, H, W) float32 and `label` (H, W) int64 of one draw.

        Raises:
            DataError: a file that cannot be read, or an image and a label of different shapes.
        """
        index, seed = draw
        sample = self.samples[index]
        image, label = read_image(sample.image), read_label(sample.label)
        if image.shape[0] * label.shape[1] != image.shape[1] * label.shape[0]:
            raise DataError(
                f"label {sample.label}: {label.shape[1]} x {label.shape[0]} pixels, "
                f"but its image has {image.shape[1]} x {image.shape[0]}; they must cover the same frame"
            )
        # Forked workers would otherwise repeat one another's random numbers.
        self.transform.set_random_seed(seed)
        if image.shape[:2] != label.shape:
            image = A.Resize(*label.shape)(image=image)["image"]
        if index == BLANK:
            label = np.full_like(label, IGNORE_INDEX)
        out = self.transform(image=image, mask=label)
        return {"image": out["image"], "label": out["mask"].to(torch.int64)}

"""Labelled faces as tensors."""

from collections.abc import Sequence
from typing import TypedDict

import albumentations as A
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facekp.classes import IGNORE_INDEX
from facekp.data.cache import Decoded, read_sample
from facekp.data.layout import Sample
from facekp.data.sampler import BLANK, Draw
from facekp.data.transforms import normalise


class Pixels(TypedDict):
    """What a loader gives: `image` (N, H, W, 3) uint8 RGB; `label` (N, H, W) uint8, ids or 255."""

    image: Tensor
    label: Tensor


class Batch(TypedDict):
    """What a step is given: `image` (N, 3, H, W) float32, normalised; `label` (N, H, W) int64, ids or 255."""

    image: Tensor
    label: Tensor


def to_batch(pixels: Pixels) -> Batch:
    """Normalise what a loader gave, on the device where it is: bytes travel faster than floats."""
    return {"image": normalise(pixels["image"]), "label": pixels["label"].to(torch.int64)}


class FaceDataset(Dataset[Pixels]):
    """Samples of a prepared data set, each transformed from its own seed.

    Args:
        samples: what to read.
        transform: a pipeline of `facekp.data.transforms`, or any other that ends in uint8 pixels.
        decoded: the samples' pixels, where they were decoded beforehand.
    """

    def __init__(self, samples: Sequence[Sample], transform: A.Compose, decoded: Decoded | None = None) -> None:
        self.samples = samples
        self.transform = transform
        self.decoded = decoded

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Pixels:
        """Return `image` (H, W, 3) uint8 and `label` (H, W) uint8 of one draw.

        Raises:
            DataError: a file that cannot be read, or an image and a label of different shapes.
            TypeError: a transform that gives anything but uint8 pixels.
        """
        index, seed = draw
        image, label = read_sample(self.samples[index]) if self.decoded is None else self.decoded[index]
        if index == BLANK:
            label = np.full_like(label, IGNORE_INDEX)
        # Forked workers would otherwise repeat one another's random numbers.
        self.transform.set_random_seed(seed)
        out = self.transform(image=image, mask=label)
        if getattr(out["image"], "dtype", None) != np.uint8:
            raise TypeError("the transform gives no uint8 image: leave out what normalises or makes tensors of it")
        return {"image": _tensor(out["image"]), "label": _tensor(out["mask"])}


def _tensor(array: npt.NDArray[np.uint8]) -> Tensor:
    # What was decoded beforehand is read-only; torch wants to be able to write.
    return torch.from_numpy(np.require(array, requirements="W"))

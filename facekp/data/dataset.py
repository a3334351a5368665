"""Labelled faces as tensors: reading, augmentation and batches."""

from collections.abc import Callable, Sequence
from typing import TypedDict

import albumentations as A
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facekp.classes import IGNORE_INDEX
from facekp.data.layout import Sample
from facekp.data.normalisation import normalise
from facekp.data.sampler import BLANK, Draw
from facekp.errors import DataError
from facekp.images import UInt8Array, read_image, read_label

Decoded = Callable[[int], tuple[UInt8Array, UInt8Array]]


class Pixels(TypedDict):
    """A batch from a loader: `image` (N, H, W, 3) uint8 RGB; `label` (N, H, W) uint8, ids or 255."""

    image: Tensor
    label: Tensor


class Batch(TypedDict):
    """A batch for a step: `image` (N, 3, H, W) float32, normalised; `label` (N, H, W) int64, ids or 255."""

    image: Tensor
    label: Tensor


def to_batch(pixels: Pixels) -> Batch:
    """Normalise a loader's batch on the device where it is: bytes are faster to transfer than floats."""
    return {"image": normalise(pixels["image"]), "label": pixels["label"].to(torch.int64)}


def read_sample(sample: Sample) -> tuple[UInt8Array, UInt8Array]:
    """Return image (H, W, 3) uint8 RGB and label (H, W) uint8, the image resized to the label's size.

    Raises:
        DataError: a file cannot be read, or image and label have different aspect ratios.
    """
    image, label = read_image(sample.image), read_label(sample.label, sample.classes)
    if image.shape[0] * label.shape[1] != image.shape[1] * label.shape[0]:
        raise DataError(
            f"label {sample.label}: {label.shape[1]} x {label.shape[0]} pixels, "
            f"but its image has {image.shape[1]} x {image.shape[0]}; they must cover the same frame"
        )
    if image.shape[:2] != label.shape:
        image = A.Resize(*label.shape)(image=image)["image"]
    return image, label


class FaceDataset(Dataset[Pixels]):
    """Samples of a prepared data set, each augmented from its own seed.

    Args:
        transform: a pipeline of `facekp.data.transforms`, or any albumentations pipeline that returns uint8 pixels.
        decoded: returns the pixels of a sample by its index, if they are decoded in advance; see `read_sample`.
    """

    def __init__(self, samples: Sequence[Sample], transform: A.Compose, decoded: Decoded | None = None) -> None:
        self.samples, self.transform, self.decoded = samples, transform, decoded

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Pixels:
        """Return `image` (H, W, 3) uint8 and `label` (H, W) uint8 of one draw.

        Raises:
            DataError: a file cannot be read, or image and label have different aspect ratios.
            TypeError: the transform does not return uint8 pixels.
        """
        index, seed = draw
        image, label = read_sample(self.samples[index]) if self.decoded is None else self.decoded(index)
        if index == BLANK:
            label = np.full_like(label, IGNORE_INDEX)
        # Forked workers would otherwise repeat one another's random numbers.
        self.transform.set_random_seed(seed)
        out = self.transform(image=image, mask=label)
        if getattr(out["image"], "dtype", None) != np.uint8:
            raise TypeError("the transform's image is not uint8: remove steps that normalise or convert to tensors")
        return {"image": _tensor(out["image"]), "label": _tensor(out["mask"])}


def _tensor(array: UInt8Array) -> Tensor:
    # Cached pixels are read-only, and torch wants writable memory.
    return torch.from_numpy(np.require(array, requirements="W"))


def disable_opencv_threads(worker: int) -> None:
    """Begin a loader's worker: OpenCV's threads would compete with the other workers for the cores.

    Here, because a worker that is not forked imports this module, and Lightning would take it seconds.
    """
    cv2.setNumThreads(0)

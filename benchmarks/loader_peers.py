"""Our training pipeline as others write it: with PIL and torchvision, and with albumentations alone."""

import random
from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torchvision import transforms

from facekp.classes import IGNORE_INDEX, MIRROR_PAIRS, mirror_table
from facekp.config import DataConfig
from facekp.data.dataset import Batch
from facekp.data.layout import Sample
from facekp.data.normalisation import MEAN, STD
from facekp.data.sampler import Draw
from facekp.data.transforms import Pipeline
from facekp.images import UInt8Array

Pair = tuple[Image.Image, Image.Image]


class NaiveDataset:
    """Each step as public face parsing trainers write it.

    Reference: face_dataset.py and transform.py of github.com/zllrunning/face-parsing.PyTorch.
    """

    def __init__(self, samples: Sequence[Sample], config: DataConfig) -> None:
        self.samples, self.config, self.rng = samples, config, random.Random(0)
        self.jitter = transforms.ColorJitter(config.jitter, config.jitter, config.jitter)
        self.to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        """Return one augmented crop and its label."""
        image, label = self.decode(index)
        return self.finish(*self.place(self.jitter(image), label))

    def decode(self, index: int) -> Pair:
        """Read an image and its label."""
        sample, c = self.samples[index], self.config
        image = Image.open(sample.image).convert("RGB").resize((c.size, c.size), Image.Resampling.BILINEAR)
        return image, Image.open(sample.label).resize((c.size, c.size), Image.Resampling.NEAREST)

    def place(self, image: Image.Image, label: Image.Image) -> Pair:
        """Mirror, scale and crop."""
        c = self.config
        if self.rng.random() < c.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            label = _mirrored(label.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        # The crop has to fit, so a smaller scale stops there.
        side = max(c.crop, int(c.size * self.rng.choice(c.scales)))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
        label = label.resize((side, side), Image.Resampling.NEAREST)
        left, top = self.rng.randint(0, side - c.crop), self.rng.randint(0, side - c.crop)
        box = (left, top, left + c.crop, top + c.crop)
        return image.crop(box), label.crop(box)

    def finish(self, image: Image.Image, label: Image.Image) -> Batch:
        """Make tensors of a crop, and normalise the image."""
        return {"image": self.to_tensor(image), "label": torch.from_numpy(np.array(label).astype(np.int64))}


def _mirrored(label: Image.Image) -> Image.Image:
    """Swap left and right classes, pair by pair."""
    before = np.array(label)
    after = before.copy()
    for left, right in MIRROR_PAIRS:
        after[before == left], after[before == right] = right, left
    return Image.fromarray(after)


class MirrorFace(A.HorizontalFlip):  # type: ignore[misc]  # albumentations has no types
    """Horizontal flip that also swaps the left and right eyes, brows and ears of the label map."""

    def apply_to_mask(self, mask: UInt8Array, *args: Any, **params: Any) -> UInt8Array:
        """Flip (H, W) uint8 class ids and swap those with a side."""
        mirrored: UInt8Array = mirror_table()[super().apply_to_mask(mask, *args, **params)]
        return mirrored


class ChooseScale(A.RandomScale):  # type: ignore[misc]  # as above
    """Scale by one of a few equally likely factors."""

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__(p=1, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST_EXACT)
        self.factors = tuple(factors)

    def get_params(self) -> dict[str, Any]:
        """Draw the factor."""
        return {"scale": self.py_random.choice(self.factors)}


def plain_transform(c: DataConfig) -> A.Compose:
    """Return the training pipeline as one writes it with albumentations: each step of the definition is a transform."""
    return Pipeline(
        [
            A.Resize(c.size, c.size, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST_EXACT),
            A.ColorJitter(c.jitter, c.jitter, c.jitter, hue=0, p=1 if c.jitter else 0),
            MirrorFace(p=c.flip),
            ChooseScale(c.scales),
            A.RandomCrop(
                c.crop, c.crop, pad_if_needed=True, border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=IGNORE_INDEX
            ),
        ]
    )


class PlainDataset:
    """The same by albumentations, which reads pictures with OpenCV in its tutorials; labels by Pillow."""

    def __init__(self, samples: Sequence[Sample], config: DataConfig) -> None:
        self.samples, self.transform = samples, plain_transform(config)
        self.to_tensor = A.Compose([A.Normalize(MEAN, STD), ToTensorV2()])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Batch:
        """Return one augmented crop and its label."""
        index, seed = draw
        sample = self.samples[index]
        image = cv2.cvtColor(cv2.imread(str(sample.image)), cv2.COLOR_BGR2RGB)
        self.transform.set_random_seed(seed)
        out = self.to_tensor(**self.transform(image=image, mask=np.array(Image.open(sample.label))))
        return {"image": out["image"], "label": out["mask"].to(torch.int64)}

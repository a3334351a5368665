"""`loader/*`: from files to normalised crops on one core, by ours and by a loader as others write it."""

import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.harness import Bench, Row, alternate, make_row
from facekp.attributes import MIRROR_PAIRS
from facekp.config import DataConfig
from facekp.data.dataset import Batch, FaceDataset
from facekp.data.layout import Sample, read_index
from facekp.data.sources import prepared_root
from facekp.data.transforms import MEAN, STD, training_transform

FACES = 64


class NaiveDataset:
    """Our training pipeline, step by step, as public face parsing trainers write it: with PIL and torchvision.

    Reference: face_dataset.py and transform.py of github.com/zllrunning/face-parsing.PyTorch.
    """

    def __init__(self, samples: Sequence[Sample], config: DataConfig) -> None:
        self.samples, self.config, self.rng = samples, config, random.Random(0)
        self.jitter = transforms.ColorJitter(config.jitter, config.jitter, config.jitter)
        self.to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __getitem__(self, index: int) -> Batch:
        """Return one augmented crop and its label."""
        sample, c = self.samples[index], self.config
        image = Image.open(sample.image).convert("RGB").resize((c.size, c.size), Image.Resampling.BILINEAR)
        label = Image.open(sample.label).resize((c.size, c.size), Image.Resampling.NEAREST)
        image = self.jitter(image)
        if self.rng.random() < c.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            label = _mirrored(label.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        # The crop has to fit, so a smaller scale stops there.
        side = max(c.crop, int(c.size * self.rng.choice(c.scales)))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
        label = label.resize((side, side), Image.Resampling.NEAREST)
        left, top = self.rng.randint(0, side - c.crop), self.rng.randint(0, side - c.crop)
        box = (left, top, left + c.crop, top + c.crop)
        ids = torch.from_numpy(np.array(label.crop(box)).astype(np.int64))
        return {"image": self.to_tensor(image.crop(box)), "label": ids}


def _mirrored(label: Image.Image) -> Image.Image:
    """Swap left and right classes, pair by pair."""
    before = np.array(label)
    after = before.copy()
    for left, right in MIRROR_PAIRS:
        after[before == left], after[before == right] = right, left
    return Image.fromarray(after)


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `loader/naive`."""
    c = data_config(bench)
    samples = read_index(prepared_root(c))["train"][:FACES]
    transform = training_transform(c.size, c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip)
    ours, naive = FaceDataset(samples, transform), NaiveDataset(samples, c)
    count, seeds = len(samples), random.Random(0)

    def run_ours() -> None:
        for index in range(count):
            ours[index, seeds.randrange(2**31)]

    def run_naive() -> None:
        for index in range(count):
            naive[index]

    with _one_core():
        runs = alternate(run_ours, run_naive, bench)
    mine, theirs = ([1000 * seconds / count for seconds in column] for column in runs)
    speed = f"{1000 / statistics.median(mine):.0f} images/s a core, theirs {1000 / statistics.median(theirs):.0f}"
    note = f"{speed}; {count} images, {c.size} to {c.crop} pixels, no workers"
    yield make_row("loader/naive", "ms/image", mine, theirs, peer_name="PIL and torchvision", note=note)


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep torch and OpenCV to one thread, as in a loader's worker."""
    threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(opencv_threads)


def data_config(bench: Bench) -> DataConfig:
    """Return the settings of training, over `bench.root` or drawn faces."""
    if bench.root is not None:
        return DataConfig(root=str(bench.root))
    size, crop, faces = (128, 96, 8) if bench.quick else (512, 448, FACES)
    return DataConfig(
        source="synthetic",
        cache=str(bench.cache),
        size=size,
        crop=crop,
        synthetic_train=faces,
        synthetic_val=1,
        synthetic_test=1,
    )

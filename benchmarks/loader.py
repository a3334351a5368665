"""`loader/*`, `loader_stage/*`: from files to batches, compared with common loaders on the same images."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import transforms

from benchmarks.harness import Bench, Call, Row, alternate, make_row
from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.config import DataConfig
from facekp.data.cache import decode_all
from facekp.data.datamodule import start_method
from facekp.data.dataset import Batch, FaceDataset, read_sample, to_batch
from facekp.data.jitter import jitter
from facekp.data.layout import Sample, read_index
from facekp.data.normalisation import MEAN, STD
from facekp.data.sampler import Draw, TrainingStream
from facekp.data.sources import prepared_root
from facekp.data.transforms import Pipeline, TrainingView, training_transform
from facekp.images import UInt8Array

FACES, PASSES = 96, 2
NAIVE, PLAIN = "PIL and torchvision", "albumentations alone"
Pair = tuple[Image.Image, Image.Image]


class NaiveDataset(Dataset[Batch]):
    """Each step as in face_dataset.py and transform.py of github.com/zllrunning/face-parsing.PyTorch."""

    def __init__(self, samples: Sequence[Sample], config: DataConfig) -> None:
        self.samples, self.config, self.rng = samples, config, random.Random(0)
        self.jitter = transforms.ColorJitter(config.jitter, config.jitter, config.jitter)
        self.to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __getitem__(self, draw: Draw) -> Batch:
        image, label = self.decode(draw[0])
        return self.finish(*self.place(self.jitter(image), label))

    def decode(self, index: int) -> Pair:
        """Read an image and its label."""
        sample, size = self.samples[index], (self.config.size, self.config.size)
        image = Image.open(sample.image).convert("RGB").resize(size, Image.Resampling.BILINEAR)
        return image, Image.open(sample.label).resize(size, Image.Resampling.NEAREST)

    def place(self, image: Image.Image, label: Image.Image) -> Pair:
        """Mirror, scale and crop."""
        c = self.config
        if self.rng.random() < c.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            before = np.array(label.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
            after = before.copy()
            for left, right in (map(CELEBAMASK_HQ.index, pair) for pair in CELEBAMASK_HQ.pairs):
                after[before == left], after[before == right] = right, left
            label = Image.fromarray(after)
        # The crop has to fit, so smaller scales stop there.
        side = max(c.crop, int(c.size * self.rng.choice(c.scales)))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
        label = label.resize((side, side), Image.Resampling.NEAREST)
        x, y = self.rng.randint(0, side - c.crop), self.rng.randint(0, side - c.crop)
        box = (x, y, x + c.crop, y + c.crop)
        return image.crop(box), label.crop(box)

    def finish(self, image: Image.Image, label: Image.Image) -> Batch:
        """Turn a crop into tensors, and normalise the image."""
        return {"image": self.to_tensor(image), "label": torch.from_numpy(np.array(label).astype(np.int64))}


class MirrorFace(A.HorizontalFlip):  # type: ignore[misc]  # albumentations has no types
    """Horizontal flip that also swaps the left and right eyes, brows and ears of the label map."""

    def apply_to_mask(self, mask: UInt8Array, *args: Any, **params: Any) -> UInt8Array:
        """Flip (H, W) uint8 class ids and swap those with a side."""
        mirrored: UInt8Array = CELEBAMASK_HQ.mirror_table()[super().apply_to_mask(mask, *args, **params)]
        return mirrored


def plain_transform(c: DataConfig) -> A.Compose:
    """Return the training pipeline with one albumentations transform for each step of the definition."""
    how = {"interpolation": cv2.INTER_LINEAR, "mask_interpolation": cv2.INTER_NEAREST_EXACT}
    padding = {"pad_if_needed": True, "border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": IGNORE_INDEX}
    scales = [A.RandomScale((scale - 1, scale - 1), p=1, **how) for scale in c.scales]
    return Pipeline(
        [
            A.Resize(c.size, c.size, **how),
            A.ColorJitter(c.jitter, c.jitter, c.jitter, hue=0, p=1 if c.jitter else 0),
            MirrorFace(p=c.flip),
            A.OneOf(scales, p=1),
            A.RandomCrop(c.crop, c.crop, **padding),
        ]
    )


class PlainDataset(NaiveDataset):
    """The same with albumentations, whose tutorials read images with OpenCV; labels with Pillow."""

    def __init__(self, samples: Sequence[Sample], config: DataConfig) -> None:
        self.samples, self.transform = samples, plain_transform(config)
        self.to_tensor = A.Compose([A.Normalize(MEAN, STD), ToTensorV2()])

    def __getitem__(self, draw: Draw) -> Batch:
        sample = self.samples[draw[0]]
        image = cv2.cvtColor(cv2.imread(str(sample.image)), cv2.COLOR_BGR2RGB)
        self.transform.set_random_seed(draw[1])
        out = self.to_tensor(**self.transform(image=image, mask=np.array(Image.open(sample.label))))
        return {"image": out["image"], "label": out["mask"].to(torch.int64)}


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the time of an image on one core, with workers, and of each stage, on `bench.root` or drawn faces."""
    size, crop, faces = (128, 96, 8) if bench.quick else (512, 448, FACES)
    c = DataConfig(root=bench.root, batch_size=bench.batch, size=size, crop=crop)
    if bench.root is None:
        c = replace(c, source="synthetic", cache=bench.cache, synthetic_train=faces, synthetic_val=1, synthetic_test=1)
    samples = read_index(prepared_root(c))["train"][:FACES]
    threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)  # as in a loader's worker
    cv2.setNumThreads(0)
    yield from _loaders(samples, c, bench)
    yield from _stages(samples[: FACES // 2], c, bench)
    torch.set_num_threads(threads)
    cv2.setNumThreads(opencv_threads)


def _loaders(samples: list[Sample], c: DataConfig, bench: Bench) -> Iterator[Row]:
    transform = training_transform(c.size, c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip)
    length = max(1, PASSES * len(samples) // c.batch_size) * c.batch_size
    stream = TrainingStream(len(samples), seed=0, length=length, global_batch=c.batch_size)
    ours, naive = FaceDataset(samples, transform), NaiveDataset(samples, c)
    decoded = FaceDataset(samples, transform, decode_all(samples, replace(c, decoded="ram")))

    def load(dataset: Any, after: Callable[[Any], object] = lambda batch: batch, workers: int = 0) -> Call:
        loader: DataLoader[Any] = DataLoader(
            dataset, c.batch_size, sampler=stream, num_workers=workers, persistent_workers=workers > 0,
            multiprocessing_context=start_method() if workers else None,
        )  # fmt: skip
        return partial(run_all, after, loader)

    calls = [load(ours, to_batch), load(ours), load(decoded, to_batch), load(naive), load(PlainDataset(samples, c))]
    floats, as_bytes, in_ram, theirs, plain = alternate(calls, bench, scale=1000 / length)
    about = f"{len(samples)} images, {c.size} to {c.crop} pixels, no workers"
    yield _row("loader/naive", [floats, theirs], about)
    yield _row("loader/albumentations", [floats, plain], about, PLAIN)
    yield _row("loader/bytes", [as_bytes, theirs], f"{about}; ours without normalising, which a GPU does")
    yield _row("loader/decoded", [in_ram, theirs], f"{about}; ours with data.decoded=ram")
    for workers in (1, 2):
        calls = [load(ours, to_batch, workers), load(naive, workers=workers)]
        runs = alternate(calls, bench, scale=1000 / length)
        yield _row(f"loader/workers_{workers}", runs, "ours is normalised in the main process")


def _stages(samples: list[Sample], c: DataConfig, bench: Bench) -> Iterator[Row]:
    """Yield each stage, on the output of the previous one."""
    naive, numbers = NaiveDataset(samples, c), range(len(samples))
    view = TrainingView(c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip)
    pictures = [naive.decode(i) for i in numbers]
    placed = [naive.place(*pair) for pair in pictures]
    finished = [naive.finish(*pair) for pair in placed]
    drawn, kept = [], []
    for image, label in map(read_sample, samples):
        params = {**view.get_params(), "shape": image.shape}
        params |= view.get_params_dependent_on_data(params, {})
        down, across = params["spans"]
        drawn.append((image, label, params))
        kept.append((image[down.start : down.stop, across.start : across.stop], params["steps"], image))

    def crop(image: Any, label: Any, params: dict[str, Any]) -> Any:
        image, label = view.apply(image, **params), view.apply_to_mask(label, **params)
        return {"image": torch.from_numpy(image), "label": torch.from_numpy(label)}

    def collate(items: Sequence[Any]) -> list[Any]:
        return [default_collate(list(items[i : i + c.batch_size])) for i in range(0, len(items), c.batch_size)]

    crops = [crop(*one) for one in drawn]
    plain = [(image, label, {**params, "steps": []}) for image, label, params in drawn]
    batches = collate(crops)
    stages: dict[str, tuple[Callable[..., Any], Sequence[Any], Callable[..., Any], Sequence[Any]]] = {
        "decode": (lambda i: read_sample(samples[i]), numbers, naive.decode, numbers),
        "jitter": (lambda one: jitter(*one), kept, lambda pair: naive.jitter(pair[0]), pictures),
        "mirror_scale_crop": (lambda one: crop(*one), plain, lambda pair: naive.place(*pair), pictures),
        "collate": (collate, [crops], collate, [finished]),
        "normalise": (to_batch, batches, lambda pair: naive.finish(*pair), placed),
    }
    for name, (our, ours, their, theirs) in stages.items():
        calls = [partial(run_all, our, ours), partial(run_all, their, theirs)]
        runs = alternate(calls, bench, scale=1000 / len(samples))
        yield _row(f"loader_stage/{name}", runs, f"{len(samples)} images")


def run_all(function: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Call a function on every item, and drop what it returns."""
    deque(map(function, items), maxlen=0)


def _row(name: str, runs: list[list[float]], note: str, peer: str = NAIVE) -> Row:
    ours, theirs = runs
    speeds = f"{1000 / median(ours):.0f} images/s, theirs {1000 / median(theirs):.0f}"
    return make_row(name, "ms/image", runs, peer_name=peer, note=f"{speeds}; {note}")

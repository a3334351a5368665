"""`loader/*`, `loader_stage/*`: from files to batches, ours beside loaders as others write them, on the same images."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, default_collate

from benchmarks.harness import Bench, Row, make_row
from benchmarks.loader_peers import NaiveDataset, PlainDataset
from benchmarks.timing import Call, timed
from facekp.config import DataConfig
from facekp.data.cache import decode_all
from facekp.data.dataset import FaceDataset, Pixels, read_sample, to_batch
from facekp.data.jitter import jitter
from facekp.data.layout import read_index
from facekp.data.sampler import TrainingStream
from facekp.data.sources import prepared_root
from facekp.data.transforms import TrainingView, training_transform
from facekp.images import UInt8Array

FACES, PASSES = 96, 2
NAIVE, PLAIN = "PIL and torchvision", "albumentations alone"
Runs = Mapping[str, list[float]]


def rows(bench: Bench) -> Iterator[Row]:
    """Yield what an image takes on one core, with workers, and stage by stage."""
    c = dataclasses.replace(data_config(bench), batch_size=bench.batch)
    with _one_core():
        yield from _loaders(c, bench)
        yield from _stages(c, bench)


def _loaders(c: DataConfig, bench: Bench) -> Iterator[Row]:
    samples = read_index(prepared_root(c))["train"][:FACES]
    transform = training_transform(c.size, c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip)
    decoded = decode_all(samples, dataclasses.replace(c, decoded="ram"))
    length = max(1, PASSES * len(samples) // c.batch_size) * c.batch_size
    draws = TrainingStream(len(samples), seed=0, length=length, global_batch=c.batch_size)

    def load(dataset: Any, workers: int = 0, after: Callable[[Any], object] = lambda batch: batch) -> Call:
        sampler = [index for index, _ in draws] if isinstance(dataset, NaiveDataset) else draws
        loader: DataLoader[Any] = DataLoader(
            dataset, c.batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )
        return lambda: deque(map(after, loader), maxlen=1)

    ours, naive = FaceDataset(samples, transform), NaiveDataset(samples, c)
    calls = {
        "ours": load(ours, after=to_batch),
        "bytes": load(ours),
        "decoded": load(FaceDataset(samples, transform, decoded), after=to_batch),
        NAIVE: load(naive),
        PLAIN: load(PlainDataset(samples, c)),
    }
    runs = _take_turns(calls, bench, length)
    about = f"{len(samples)} images, {c.size} to {c.crop} pixels, no workers"
    yield _row("loader/naive", runs, "ours", NAIVE, about)
    yield _row("loader/albumentations", runs, "ours", PLAIN, about)
    yield _row("loader/bytes", runs, "bytes", NAIVE, f"{about}; ours without normalising, which a GPU does")
    yield _row("loader/decoded", runs, "decoded", NAIVE, f"{about}; ours with data.decoded=ram")
    for workers in (1, 2):
        runs = _take_turns({"ours": load(ours, workers, to_batch), NAIVE: load(naive, workers)}, bench, length)
        yield _row(f"loader/workers_{workers}", runs, "ours", NAIVE, "ours is normalised in the main process")


def _stages(c: DataConfig, bench: Bench) -> Iterator[Row]:
    """Yield where the time goes; each stage finds at hand what the one before it made."""
    samples = read_index(prepared_root(c))["train"][: FACES // 2]
    count, naive = len(samples), NaiveDataset(samples, c)
    view = TrainingView(c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip)
    pictures, pairs = [naive.decode(i) for i in range(count)], [read_sample(sample) for sample in samples]
    drawn = [_draw(view, image.shape) for image, _ in pairs]
    placed = [naive.place(*pair) for pair in pictures]
    finished = [naive.finish(*pair) for pair in placed]
    crops = [_view(view, pair, params) for pair, params in zip(pairs, drawn, strict=True)]
    batches = [default_collate(crops[i : i + c.batch_size]) for i in range(0, count, c.batch_size)]
    stages: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "decode": (
            lambda: [read_sample(sample) for sample in samples],
            lambda: [naive.decode(i) for i in range(count)],
        ),
        "jitter": (
            lambda: [jitter(_kept(pair[0], p), p["steps"], pair[0]) for pair, p in zip(pairs, drawn, strict=True)],
            lambda: [naive.jitter(image) for image, _ in pictures],
        ),
        "mirror_scale_crop": (
            lambda: [_view(view, pair, {**p, "steps": []}) for pair, p in zip(pairs, drawn, strict=True)],
            lambda: [naive.place(*pair) for pair in pictures],
        ),
        "collate": (lambda: _collate(crops, c), lambda: _collate(finished, c)),
        "normalise": (
            lambda: deque(map(to_batch, batches), maxlen=1),
            lambda: [naive.finish(*pair) for pair in placed],
        ),
    }
    for name, (ours, theirs) in stages.items():
        runs = _take_turns({"ours": ours, NAIVE: theirs}, bench, count)
        yield _row(f"loader_stage/{name}", runs, "ours", NAIVE, f"{count} images")


def _draw(view: TrainingView, shape: tuple[int, ...]) -> dict[str, Any]:
    params = {**view.get_params(), "shape": shape}
    return params | view.get_params_dependent_on_data(params, {})


def _kept(image: UInt8Array, params: dict[str, Any]) -> UInt8Array:
    down, across = params["spans"]
    return image[down.start : down.stop, across.start : across.stop]


def _view(view: TrainingView, pair: tuple[UInt8Array, UInt8Array], params: dict[str, Any]) -> Pixels:
    image, label = view.apply(pair[0], **params), view.apply_to_mask(pair[1], **params)
    return {"image": torch.from_numpy(image), "label": torch.from_numpy(label)}


def _collate(samples: Sequence[Any], c: DataConfig) -> None:
    for i in range(0, len(samples), c.batch_size):
        default_collate(list(samples[i : i + c.batch_size]))


def _take_turns(calls: Mapping[str, Callable[[], object]], bench: Bench, images: int) -> Runs:
    """Warm all up, then time them in turn, so that all meet the same disturbances; milliseconds an image."""
    for call in calls.values():
        call()
    rounds = [{name: timed(call, bench.device) for name, call in calls.items()} for _ in range(bench.repeats)]
    return {name: [1000 * seconds[name] / images for seconds in rounds] for name in calls}


def _row(name: str, runs: Runs, ours: str, peer: str, note: str) -> Row:
    speeds = f"{1000 / median(runs[ours]):.0f} images/s, theirs {1000 / median(runs[peer]):.0f}"
    return make_row(name, "ms/image", runs[ours], runs[peer], peer_name=peer, note=f"{speeds}; {note}")


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

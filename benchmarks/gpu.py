"""`gpu/*`: training steps of every network in each precision, their shares, the loader, and parsing in batches."""

import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from benchmarks.harness import OURS, Bench, Row, alternate, make_row, peak_memory, timed
from benchmarks.step import Step, Way
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.synthetic.write import draw_face
from facekp.errors import ConfigError
from facekp.parsing.backends import TorchBackend
from facekp.parsing.parser import FaceParser

NETWORKS = ("resnet18", OURS, "bisenet", "smp_unet", "residual_attention", "fpn")
STEPS, WARM_UP = 10, 5
PARTS = ("forward", "loss", "backward", "optimiser")


def several(step: Step, steps: int) -> None:
    """Take some steps."""
    for _ in range(steps):
        step()


def shares(step: Step, steps: int) -> dict[str, float]:
    """Return the shares of a step's time on the device that its parts take, the device's waits included."""
    times = np.zeros(len(PARTS))
    for _ in range(steps):
        events: list[torch.cuda.Event] = []

        def mark(events: list[torch.cuda.Event] = events) -> None:
            events.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
            events[-1].record()

        step(mark)
        events[-1].synchronize()
        times += [start.elapsed_time(end) for start, end in pairwise(events)]
    return dict(zip(PARTS, times / times.sum(), strict=True))


def busy(step: Step, steps: int) -> float:
    """Return the share of the time in which the GPU computes: its kernels' time against the time without profiler.

    The profiler slows the process that launches the kernels, but not the kernels.
    """
    wall = timed(partial(several, step, steps), step.device)
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        several(step, steps)
        torch.cuda.synchronize(step.device)
    return sum(event.self_device_time_total for event in record.key_averages()) / 1e6 / wall


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `gpu/train/NETWORK/PRECISION`, `gpu/network`, `gpu/parse` and, with a data set, `gpu/loader`."""
    if bench.device.type != "cuda":  # to check that everything runs
        first, rest = [Way(name) for name in ("resnet18", OURS)], []
    else:  # the default precision first: a time limit may cut the rest
        first = [Way(name, "float16") for name in NETWORKS]
        modes = ("reduce-overhead", "default") if bench.compile else ()  # the first launches whole graphs at once
        rest = [Way(name, "float16", compiled=mode) for mode in modes for name in ("resnet18", OURS)]
        rest += [Way(name, "float16", channels_last=False) for name in ("resnet18", OURS)]
        rest += [Way(name, "bfloat16") for name in NETWORKS]
        rest += [Way(name) for name in ("resnet18", "bisenet", OURS)]
    yield from train_rows(first, bench)
    yield from parse_rows(bench)
    if bench.root:
        yield loader_row(bench)
    yield from train_rows(rest, bench)


def train_rows(ways: Sequence[Way], bench: Bench) -> Iterator[Row]:
    """Yield the row of each way that this machine has."""
    for way in ways:
        try:
            yield train_row(way, bench)
        except (ConfigError, RuntimeError) as error:
            print(f"gpu/train/{way.network}: left out, {str(error).splitlines()[0]}", file=sys.stderr)


def train_row(way: Way, bench: Bench) -> Row:
    """Return images per second; the note has the shares of the step's parts and of the time that the GPU computes."""
    step, steps = Step(way, bench.batch, bench.size, bench.device), 2 if bench.quick else STEPS
    several(step, 1 if bench.quick else WARM_UP)
    (seconds,) = alternate([partial(several, step, steps)], bench)
    note, memory = f"{bench.batch} x {bench.size} x {bench.size}", None
    if bench.device.type == "cuda":
        parts = ", ".join(f"{part} {share:.1%}" for part, share in shares(step, steps).items())
        note += f"; {parts}; GPU busy {busy(step, steps):.1%}"
        memory = {"ours": peak_memory(lambda: step, bench.device)}
    name = f"gpu/train/{way.network}/{way.dtype}" + "/nchw" * (not way.channels_last)
    name += f"/{way.compiled}" if way.compiled else ""
    rates = [steps * bench.batch / s for s in seconds]
    return make_row(name, "images/s", [rates], memory=memory, note=note)


def parse_rows(bench: Bench) -> Iterator[Row]:
    """Yield `gpu/network`, the shipped network from pixels to scores in memory, and `gpu/parse`, masks and key points.

    Milliseconds a photo, in batches; the photos are drawn faces, and the weights the shipped ones.
    """
    parser = FaceParser.from_checkpoint(device=bench.device.type, detector=lambda image: [])  # which is not used
    backend = parser.stages.backend
    photos = [draw_face(seed, backend.size).image for seed in range(1 if bench.quick else 64)]
    batches = [np.stack(photos[i : i + backend.batch]) for i in range(0, len(photos), backend.batch)]
    whole = {"network": lambda: [backend(batch) for batch in batches], "parse": lambda: parser(photos, align="none")}
    for name, call in whole.items():
        times = alternate([call], bench, scale=1000 / len(photos))
        precision = backend.precision if isinstance(backend, TorchBackend) else ""
        yield make_row(f"gpu/{name}", "ms", times, note=f"{len(photos)} photos of {backend.size} pixels, {precision}")


def loader_row(bench: Bench) -> Row:
    """Return the images per second that the training loader of the last release gives, without training."""
    config = DataConfig(root=bench.root, scales=[0.75, 0.875, 1, 1.125], occlude=0.15, corrupt=0.1)
    batches = 4 if bench.quick else 200
    data = FaceDataModule(config, seed=0, total_steps=10 * batches)
    loader: DataLoader[Any] = data.train_dataloader()
    stream = iter(loader)
    list(islice(stream, batches // 2))  # the workers start
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        list(islice(stream, batches))
        rates.append(batches * config.batch_size / (time.perf_counter() - start))
    note = f"{config.loader_workers} workers, crops of {config.crop} pixels as in docs/results/recipe.md"
    return make_row("gpu/loader", "images/s", [rates], note=note)

"""How time and memory grow with the batch and the images' size: `python -m benchmarks.scaling`."""

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.__main__ import choose_device
from benchmarks.harness import Bench, DType, alternate
from benchmarks.limits import least_seconds, measure_rates
from benchmarks.memory import peak_memory
from benchmarks.plot import draw
from benchmarks.predict import drawn_scores
from benchmarks.results import describe
from benchmarks.step import Way
from benchmarks.step import prepare as prepare_step
from benchmarks.timing import Call
from facekp.backends import TorchBackend
from facekp.cli import parse_cli
from facekp.config import expand, require
from facekp.errors import one_line_errors
from facekp.folder import make_folder, replacing
from facekp.machine import MIB, keep_freed_memory
from facekp.models import build_model
from facekp.models.cost import multiply_adds
from facekp.parser import FaceParser

REPEATS = 3
OUT, PLOT = "benchmarks/scaling.json", "docs/scaling.png"
Prepare = Callable[[DType, int, int, torch.device], Call]


@dataclass(frozen=True)
class Sweep:
    """Values of one of `batch` and `size`, the other being fixed."""

    batch: tuple[int, ...]
    size: tuple[int, ...]

    def points(self) -> list[tuple[int, int]]:
        """Return every (batch, size), smallest first."""
        return [(batch, size) for batch in self.batch for size in self.size]


# Faces per image comes in here as a third sweep, once one image can be parsed face by face.
SWEEPS = {
    "batch": Sweep(batch=(1, 2, 4, 8, 16, 32), size=(448,)),
    "size": Sweep(batch=(4,), size=(224, 320, 448, 640, 832, 1024)),
}
QUICK_SWEEPS = {"batch": Sweep(batch=(1, 2), size=(64,)), "size": Sweep(batch=(2,), size=(64, 96))}


@dataclass(frozen=True)
class Point:
    """One measured point, or one that was left out: then `skipped` says why, and there are no figures.

    Attributes:
        sweep: a key of `SWEEPS`.
        task: a key of `TASKS`.
        batch: images at a time.
        size: their side, pixels.
        seconds: median of a few runs.
        memory: extra peak memory of one call, MiB.
        limit: least seconds, by this machine's convolution rate.
        skipped: why it was not measured, or "".
    """

    sweep: str
    task: str
    batch: int
    size: int
    seconds: float | None = None
    memory: float | None = None
    limit: float | None = None
    skipped: str = ""


def prepare_training(dtype: DType, batch: int, size: int, device: torch.device) -> Call:
    """Return a call that takes one training step."""
    return prepare_step(Way("resnet18", dtype), batch, size, device)


def prepare_prediction(dtype: DType, batch: int, size: int, device: torch.device) -> Call:
    """Return a call that gives the masks and key points of a batch of photos, as `FaceParser` does in torch."""
    backend = TorchBackend(build_model("resnet18"), size, device, dtype)
    parser = FaceParser(backend)
    photos = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    scores = drawn_scores(size)  # not the network's own: see benchmarks.predict.Drawn

    def call() -> None:
        backend(photos)
        for _ in photos:
            parser.face(scores, (size, size))

    return call


TASKS: dict[str, Prepare] = {"training step": prepare_training, "prediction": prepare_prediction}
FORWARD_PASSES = {"training step": 3, "prediction": 1}
"""Multiply-adds of a task over those of a forward pass; a backward pass is two forward ones."""


def measure(bench: Bench, *, seconds: float, memory: float) -> Iterator[Point]:
    """Yield every point of every sweep; those that would exceed `seconds` a call or `memory` MiB are left out."""
    dtype = bench.dtypes[-1]
    for sweep, values in (QUICK_SWEEPS if bench.quick else SWEEPS).items():
        for task in TASKS:
            tried: Point | None = None
            for batch, size in values.points():
                reason = _excess(tried, batch * size**2, seconds, memory) if tried else ""
                point = Point(sweep, task, batch, size, skipped=reason)
                if not reason:
                    point = tried = _measure_point(point, dtype, bench, memory)
                yield point


def _excess(last: Point, pixels: int, seconds: float, memory: float) -> str:
    """Say what a point of `pixels` would exceed, if time and memory grow from the last one with the pixels, or ""."""
    growth = pixels / (last.batch * last.size**2)
    if last.memory is None:
        return last.skipped
    if last.memory * growth > memory:
        return f"would take about {last.memory * growth:.0f} MiB of the {memory:.0f} allowed"
    if last.seconds is not None and last.seconds * growth > seconds:
        return f"would take about {last.seconds * growth:.0f} s of the {seconds:.0f} allowed"
    return ""


def _measure_point(point: Point, dtype: DType, bench: Bench, memory: float) -> Point:
    prepare = partial(TASKS[point.task], dtype, point.batch, point.size, bench.device)
    where = (point.sweep, point.task, point.batch, point.size)
    try:
        # First, in a process of its own: should it be too much, this one goes on.
        extra = peak_memory(prepare, bench.device)
    except (BrokenProcessPool, torch.cuda.OutOfMemoryError):
        return Point(*where, skipped="ran out of memory")
    if extra > memory:
        return Point(*where, memory=extra, skipped=f"takes {extra:.0f} MiB of the {memory:.0f} allowed")
    runs = alternate(prepare(), None, bench, repeats=REPEATS)[0]
    flops = 2 * _multiply_adds(point.size) * point.batch * FORWARD_PASSES[point.task]
    return Point(*where, statistics.median(runs), extra, least_seconds(flops, bench.rates.convolution[dtype]))


def _multiply_adds(size: int) -> int:
    with torch.device("meta"):
        return multiply_adds(build_model("resnet18"), size)


@dataclass
class Settings:
    """The settings of the command."""

    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})
    out: str | None = field(default=None, metadata={"help": f"file to write; null: {OUT}, none if quick"})
    plot: str | None = field(default=None, metadata={"help": f"picture to draw; null: {PLOT}, none if quick"})
    seconds: float = field(default=60.0, metadata={"help": "points whose one call takes longer are left out"})
    memory: float | None = field(default=None, metadata={"help": "MiB; likewise. null: half of this machine's"})
    quick: bool = field(default=False, metadata={"help": "small sizes, to see that it works"})

    def __post_init__(self) -> None:
        """Check values."""
        require("device", self.device, self.device in ("auto", "cpu", "cuda"), "choose auto, cpu or cuda")
        require("seconds", self.seconds, self.seconds > 0, "give a time above 0")
        require("memory", self.memory, self.memory is None or self.memory > 0, "give MiB above 0, or null")

    def path(self, given: str | None, usual: str) -> Path | None:
        """Return where to write, with null resolved; what a quick run finds means nothing, and replaces nothing."""
        return expand(given or usual) if given or not self.quick else None


def half_of_memory(device: torch.device) -> float:
    """Return half of the memory of a GPU, or of the machine, MiB."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / MIB / 2
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB / 2


def main(argv: Sequence[str]) -> None:
    """Measure, write and draw."""
    keep_freed_memory()
    settings = parse_cli(Settings, argv, program="python -m benchmarks.scaling", about=__doc__ or "")
    device = choose_device(settings.device)
    bench = Bench(device, measure_rates(device, quick=settings.quick), quick=settings.quick)
    points = []
    for point in measure(bench, seconds=settings.seconds, memory=settings.memory or half_of_memory(device)):
        figures = point.skipped or f"{point.seconds:.3g} s, {point.memory:.0f} MiB"
        print(f"{point.task}, batch {point.batch}, {point.size} pixels: {figures}", file=sys.stderr)
        points.append(point)
    results: dict[str, Any] = describe(bench, []) | {"dtype": bench.dtypes[-1], "points": [asdict(p) for p in points]}
    del results["rows"]
    out, plot = settings.path(settings.out, OUT), settings.path(settings.plot, PLOT)
    if out:
        make_folder(out.parent)
        with replacing(out) as part:
            part.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if plot:
        make_folder(plot.parent)
        draw(results, plot)
    print(f"written: {out or 'no file'}, {plot or 'no picture'}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

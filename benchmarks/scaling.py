"""Growth of time and memory with batch, image size and faces: `python -m benchmarks.scaling`."""

import statistics
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import harness
from benchmarks.harness import OURS, Bench, Call, DType, build
from benchmarks.predict import Drawn, drawn_scores
from benchmarks.step import Step, Way
from facekp.hardware import resolve_device
from facekp.parsing.backends import TorchBackend
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene, View
from facekp.settings import Settings, one_of, setting

AXES = {
    "batch": "images in a batch, at {size} pixels",
    "size": "side of an image in pixels, {batch} at a time",
    "faces": "faces found in a photo of {photo} pixels, each at {size}",
}
"""Axis labels of the sweeps; values in braces are the same at all points."""
COLOURS = {"training step": "tab:blue", "prediction": "tab:orange"}
FORWARD_PASSES = {"training step": 3, "prediction": 1}  # multiply-adds over a forward pass's; backward is two


@dataclass(frozen=True, kw_only=True)
class Point:
    """A load of a sweep with its measurements, or the reason why it was `skipped`.

    A call takes `batch` images of `size` pixels or finds `faces` in a photo of `photo` pixels. `memory` is its extra
    peak in MiB, `seconds` the median of three runs, `limit` the minimum at the machine's convolution rate.
    """

    sweep: str
    task: str
    batch: int
    size: int
    faces: int = 0
    photo: int = 0
    seconds: float | None = None
    memory: float | None = None
    limit: float | None = None
    skipped: str = ""

    @property
    def views(self) -> int:
        """Images that the network sees: each image, then each face twice, as found and as aligned."""
        return self.batch * (1 + 2 * self.faces)


def sweeps(*, quick: bool = False) -> Iterator[list[Point]]:
    """Yield the points of every sweep and task, smallest load first."""
    sizes = (64, 96) if quick else (224, 320, 448, 640, 832, 1024)
    for task in FORWARD_PASSES:
        point = Point(sweep="batch", task=task, batch=1, size=64 if quick else 448)
        yield [replace(point, batch=batch) for batch in ((1, 2) if quick else (1, 2, 4, 8, 16, 32))]
        yield [Point(sweep="size", task=task, batch=2 if quick else 4, size=size) for size in sizes]
    size, photo = (384, 256) if quick else (448, 1024)  # below 384 pixels a drawn face loses its mouth
    point = Point(sweep="faces", task="prediction", batch=1, size=size, photo=photo)
    yield [replace(point, faces=faces) for faces in ((1, 2) if quick else (1, 2, 4, 8, 16))]


def prepare_point(point: Point, dtype: DType, device: torch.device) -> Call:
    """Return a call that takes a training step, or predicts a batch or a photo of up to 16 faces that are found."""
    if point.task == "training step":
        return Step(Way(OURS, dtype), point.batch, point.size, device)
    backend, rng = TorchBackend(build(OURS), point.size, device, dtype), np.random.default_rng(0)
    if point.faces:
        photo = rng.integers(0, 256, (point.photo, point.photo, 3), dtype=np.uint8)
        cell = point.photo / 4  # places are row by row on a grid of 4 x 4
        crops = [Crop(complex(number % 4, number // 4) * cell, cell) for number in range(point.faces)]
        whole = FaceParser(backend).stages.resized(photo)  # the photo as the network sees it, which is no face
        crowd = FaceParser(Drawn(backend, whole), detector=lambda _: crops)

        def find() -> None:
            if len(crowd(photo)) != point.faces:
                raise RuntimeError(f"some of {point.faces} faces in a photo are lost: this measures something else")

        return find
    parser, photos = FaceParser(backend), rng.integers(0, 256, (point.batch, point.size, point.size, 3), dtype=np.uint8)
    # A drawn face's scores in place of the network's own, as in Drawn.
    scene = Scene(photos[0], (View(None, photos[0], (drawn_scores(point.size),)),))
    return lambda: (backend(photos), [parser.stages.trace(scene) for _ in photos])


def measure(sweep: list[Point], bench: Bench) -> Iterator[Point]:
    """Yield the points of a sweep with their figures, up to the first that runs out of memory."""
    dtype, skipped = bench.dtypes[-1], ""
    for point in sweep:
        prepared = partial(prepare_point, point, dtype, bench.device)
        try:
            # First, in a separate process: this one survives if memory runs out.
            memory = None if skipped else harness.peak_memory(prepared, bench.device)
        except (BrokenProcessPool, torch.cuda.OutOfMemoryError):
            memory, skipped = None, "this or a smaller one ran out of memory"
        if memory is None:
            yield replace(point, skipped=skipped)
            continue
        (runs,) = harness.alternate([prepared()], bench, repeats=3)
        passes = point.views * FORWARD_PASSES[point.task]
        limit = passes * harness.least_seconds(OURS, point.size, bench.rates.convolution[dtype])
        yield replace(point, seconds=statistics.median(runs), memory=memory, limit=limit)


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the content of `scaling.json`: time and memory over batch, size and faces."""
    import pandas as pd  # here, since every process that measures memory imports this module
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7.5), layout="constrained")
    panels = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for axis, column in zip(AXES, panels.T, strict=True):
        swept = pd.DataFrame(results["points"]).query("sweep == @axis")
        measured = swept[swept.skipped == ""]
        ticks = sorted(set(measured[axis]))
        for key, panel in zip(("seconds", "memory"), column, strict=True):
            for task, line in measured.set_index(axis).groupby("task", sort=False):
                panel.plot(line[key], "o-", color=COLOURS[task], label=task)
                if key == "seconds":
                    panel.plot(line.limit, "--", color=COLOURS[task], label=f"{task}, limit of the convolutions")
            panel.set(xscale="log", yscale="log", xlabel=AXES[axis].format(**swept.iloc[0]))
            panel.set(ylabel={"seconds": "seconds per call", "memory": "extra peak memory, MiB"}[key])
            panel.set_xticks(ticks, labels=map(str, ticks))
            panel.set_xticks([], minor=True)
            panel.yaxis.set_major_formatter("{x:g}")
            panel.grid(alpha=0.3)
    lines, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=2)
    figure.suptitle(
        f"shipped network in {results['dtype']}, threads: {results['threads']}\n{results['machine']}", fontsize=10
    )
    figure.savefig(path, dpi=110)


@dataclass
class Options(Settings):
    """Where to measure and write."""

    device: str = setting("auto", "auto, cpu or cuda", check=one_of("auto", "cpu", "cuda"))
    out: str | None = setting(None, "file; null: benchmarks/scaling.json, -cuda on a GPU, none if quick")
    plot: str | None = setting(None, "picture; null: docs/results/scaling.png, likewise")
    quick: bool = setting(False, "small sizes, to check that everything runs")


def main(settings: Options) -> None:
    """Measure, write and draw."""
    device = resolve_device(settings.device)
    out = harness.output("out", settings.out, "benchmarks/scaling.json", device, settings.quick)
    plot = harness.output("plot", settings.plot, "docs/results/scaling.png", device, settings.quick)
    bench = Bench(device, harness.measure_rates(device, quick=settings.quick), quick=settings.quick)
    points = []
    for point in (point for sweep in sweeps(quick=bench.quick) for point in measure(sweep, bench)):
        points.append(asdict(point))
        print(*(f"{key}={value}" for key, value in points[-1].items() if value), file=sys.stderr)
    results: dict[str, Any] = harness.describe(bench, []) | {"dtype": bench.dtypes[-1], "points": points}
    del results["rows"]
    harness.write_json(out, results)
    if plot:
        draw(results, plot)
    print(f"written: {out or 'no file'}, {plot or 'no picture'}")


if __name__ == "__main__":
    harness.run(Options, main, __doc__)

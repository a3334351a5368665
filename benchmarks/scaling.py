"""How time and memory grow with the batch, the images' size and their faces: `python -m benchmarks.scaling`."""

import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import choose_device
from benchmarks.harness import Bench, alternate
from benchmarks.limits import least_seconds, measure_rates
from benchmarks.loads import FORWARD_PASSES, QUICK_SWEEPS, SWEEPS, TASKS, Load, Prepare
from benchmarks.memory import peak_memory
from benchmarks.plot import KINDS, draw
from benchmarks.results import describe, reserve
from facekp.cli import parse_cli
from facekp.errors import ConfigError, one_line_errors, require
from facekp.files import expand, replacing
from facekp.hardware import MIB, keep_freed_memory
from facekp.models import build_model
from facekp.models.cost import multiply_adds

REPEATS = 3
OUT, PLOT = "benchmarks/scaling.json", "docs/results/scaling.png"
NOT_TRIED = "not tried: a smaller one ran out of memory"


@dataclass(frozen=True, kw_only=True)
class Point(Load):
    """A load that was measured, or one that was left out: then `skipped` says why, and there are no figures.

    Attributes:
        sweep: a key of `SWEEPS`.
        task: a key of `TASKS` there.
        seconds: median of a few runs.
        memory: extra peak memory of one call, MiB.
        limit: least seconds, by this machine's convolution rate.
        skipped: why it was not measured, or "".
    """

    sweep: str
    task: str
    seconds: float | None = None
    memory: float | None = None
    limit: float | None = None
    skipped: str = ""


def measure(bench: Bench, *, seconds: float, memory: float) -> Iterator[Point]:
    """Yield every point of every sweep; those that would exceed `seconds` a call or `memory` MiB are left out."""
    for sweep, loads in (QUICK_SWEEPS if bench.quick else SWEEPS).items():
        for task, prepare in TASKS[sweep].items():
            tried: Point | None = None
            for load in loads:
                reason = _excess(tried, load, seconds, memory) if tried else ""
                point = Point(**asdict(load), sweep=sweep, task=task, skipped=reason)
                if not reason:
                    point = tried = _measure_point(point, prepare, bench, memory)
                yield point


def _excess(last: Point, load: Load, seconds: float, memory: float) -> str:
    """Say what a load would exceed, if time and memory grow from the last one's as fast as the pixels, or ""."""
    growth = load.pixels / last.pixels
    if last.memory is None:
        return NOT_TRIED
    if last.memory * growth > memory:
        return f"would take about {last.memory * growth:.0f} MiB of the {memory:.0f} allowed"
    if last.seconds is not None and last.seconds * growth > seconds:
        return f"would take about {last.seconds * growth:.0f} s of the {seconds:.0f} allowed"
    return ""


def _measure_point(point: Point, prepare: Prepare, bench: Bench, memory: float) -> Point:
    dtype = bench.dtypes[-1]
    prepared = partial(prepare, dtype, point, bench.device)
    try:
        # First, in a process of its own: should it be too much, this one goes on.
        extra = peak_memory(prepared, bench.device)
    except (BrokenProcessPool, torch.cuda.OutOfMemoryError):
        return replace(point, skipped="ran out of memory")
    if extra > memory:
        return replace(point, memory=extra, skipped=f"takes {extra:.0f} MiB of the {memory:.0f} allowed")
    runs = alternate(prepared(), None, bench, repeats=REPEATS)[0]
    flops = 2 * _multiply_adds(point.size) * point.views * FORWARD_PASSES[point.task]
    limit = least_seconds(flops, bench.rates.convolution[dtype])
    return replace(point, seconds=statistics.median(runs), memory=extra, limit=limit)


def _multiply_adds(size: int) -> int:
    with torch.device("meta"):
        return multiply_adds(build_model("resnet18"), size)


@dataclass
class Settings:
    """The settings of the command."""

    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})
    out: str | None = field(default=None, metadata={"help": f"file; null: {OUT}, -cuda on a GPU, none if quick"})
    plot: str | None = field(default=None, metadata={"help": f"picture; null: {PLOT}, likewise"})
    seconds: float = field(default=60.0, metadata={"help": "points whose one call takes longer are left out"})
    memory: float | None = field(default=None, metadata={"help": "MiB; likewise. null: half of this machine's"})
    quick: bool = field(default=False, metadata={"help": "small sizes, to see that it works"})

    def __post_init__(self) -> None:
        """Check values."""
        require("device", self.device, self.device in ("auto", "cpu", "cuda"), "choose auto, cpu or cuda")
        require("seconds", self.seconds, self.seconds > 0, "give a time above 0")
        require("memory", self.memory, self.memory is None or self.memory > 0, "give MiB above 0, or null")
        kind = Path(self.plot or PLOT).suffix
        require("plot", self.plot, kind in KINDS, f"end it in {', '.join(KINDS)}")

    def path(self, given: str | None, usual: str, device: torch.device) -> Path | None:
        """Return where to write, with null resolved; what a quick run finds means nothing, and replaces nothing."""
        if given or self.quick:
            return expand(given) if given else None
        path = Path(usual)
        return path.with_stem(f"{path.stem}-cuda") if device.type == "cuda" else path


def half_of_memory(device: torch.device) -> float:
    """Return half of the memory of a GPU, or of the machine, MiB.

    Raises:
        ConfigError: the system does not say how much that is.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / MIB / 2
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB / 2
    except (AttributeError, ValueError) as error:  # Windows; a name that this system does not know
        raise ConfigError("memory is null, and this system does not say how much it has: give memory=MiB") from error


def main(argv: Sequence[str]) -> None:
    """Measure, write and draw."""
    keep_freed_memory()
    settings = parse_cli(Settings, argv, program="python -m benchmarks.scaling", about=__doc__ or "")
    device = choose_device(settings.device)
    # All that can go wrong goes wrong before the minutes that it takes.
    memory = settings.memory or half_of_memory(device)
    out, plot = settings.path(settings.out, OUT, device), settings.path(settings.plot, PLOT, device)
    for name, path in (("out", out), ("plot", plot)):
        if path:
            reserve(name, path)
    bench = Bench(device, measure_rates(device, quick=settings.quick), quick=settings.quick)
    points = []
    for point in measure(bench, seconds=settings.seconds, memory=memory):
        figures = point.skipped or f"{point.seconds:.3g} s, {point.memory:.0f} MiB"
        print(f"{point.task}, {point}: {figures}", file=sys.stderr)
        points.append(point)
    results: dict[str, Any] = describe(bench, []) | {"dtype": bench.dtypes[-1], "points": [asdict(p) for p in points]}
    del results["rows"]
    if out:
        with replacing(out) as part:
            part.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if plot:
        draw(results, plot)
    print(f"written: {out or 'no file'}, {plot or 'no picture'}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

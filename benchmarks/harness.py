"""Paired timing of ours against a peer, peak memory, the machine's rates, and results files."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F

from facekp import hardware
from facekp.cli import parse_cli
from facekp.errors import DataError, one_line_errors, require
from facekp.files import expand, make_folder, write_file
from facekp.models import Network, build_model
from facekp.models.registry import multiply_adds

T = TypeVar("T")
Call = Callable[[], object]
DType = Literal["float32", "bfloat16"]
OURS = "ours"
STRIDES = {OURS: 4, "bisenet": 8}  # stride of the score map that predicts


def build(network: str) -> Network:
    """Build a network with random weights: that of the shipped ones, a peer's, or one by its name in facekp."""
    special: dict[str, dict[str, Any]] = {
        OURS: {"name": "fpn", "trunk": "tf_efficientnet_lite0", "finest": 4},
        "smp_unet": {"name": "smp"},
    }
    return build_model(**special.get(network, {"name": network}))


def run(schema: type[T], main: Callable[[T], None], about: str | None) -> None:
    """Run a command with the settings given as `key=value` arguments."""
    with one_line_errors():
        hardware.keep_freed_memory()  # as train.py does
        spec = sys.modules["__main__"].__spec__
        program = f"python -m {spec.name.removesuffix('.__main__') if spec else 'benchmarks'}"
        main(parse_cli(schema, sys.argv[1:], program=program, about=about or ""))


@dataclass(frozen=True)
class Rates:
    """Highest measured rates: GFLOP/s of a 3 x 3 convolution by precision, and GB/s of a copy, read and written."""

    convolution: dict[str, float]
    copy: float


@dataclass(frozen=True)
class Bench:
    """Conditions of a run, the same for every group; figures of `quick` runs are meaningless."""

    device: torch.device
    rates: Rates
    repeats: int = 7
    quick: bool = False
    compile: bool = False
    root: str | None = None
    cache: str = "~/.cache/facekp"
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def batch(self) -> int:
        """Images in a training step."""
        return 2 if self.quick else 16

    @property
    def size(self) -> int:
        """Side of a training crop, pixels."""
        return 224 if self.quick else 448

    @property
    def dtypes(self) -> tuple[DType, ...]:
        """The precisions that are tried; the fastest counts."""
        return ("float32", "bfloat16") if "bfloat16" in self.rates.convolution else ("float32",)


@dataclass(frozen=True)
class Row:
    """One line of the table, and one object in `rows` of `results.json`.

    `ours` and `peer` are medians in `unit`, `ratio` is the median of the pairs' ratios ours / peer, `spread` the range.
    `memory` is the extra peak of one call in MiB; `limit` the minimum for ours at the machine's rates.
    """

    name: str
    unit: str
    ours: float
    ours_min: float
    ours_max: float
    repeats: int
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    memory: dict[str, float] | None = None
    limit: dict[str, float] | None = None
    note: str = ""


def make_row(name: str, unit: str, runs: Iterable[Sequence[float]], **about: Any) -> Row:
    """Return the row of our runs and the peer's paired runs, if any; `about` holds the other fields of `Row`."""
    ours, *peers = runs
    for peer in peers:
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        about |= {"peer": statistics.median(peer), "ratio": statistics.median(ratios)}
        about["spread"] = (min(ratios), max(ratios))
    return Row(name, unit, statistics.median(ours), min(ours), max(ours), len(ours), **about)


def alternate(calls: Sequence[Call], bench: Bench, *, repeats: int = 0, scale: float = 1) -> list[list[float]]:
    """Warm up all calls, then time them in turn, so that disturbances affect all alike.

    Returns the seconds of every call times `scale`, in `repeats` rounds (0: `bench.repeats`).
    """
    for call in calls:
        call()
    rounds = [[scale * timed(call, bench.device) for call in calls] for _ in range(repeats or bench.repeats)]
    return [list(times) for times in zip(*rounds, strict=True)]


def timed(call: Call, device: torch.device) -> float:
    """Return the seconds of one call, including the work it queues on a GPU."""
    wait: Call = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def peak_memory(prepare: Callable[[], Call], device: torch.device) -> float:
    """Return the extra peak memory of the call that `prepare` returns, MiB.

    On a CPU the call runs in a fresh process (so `prepare` is pickled), since it would reuse memory that earlier calls
    freed. A process killed for lack of memory raises BrokenProcessPool.
    """
    if device.type != "cuda":
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_measure_process, prepare).result()
    call = prepare()
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / hardware.MIB


def _measure_process(prepare: Callable[[], Call]) -> float:
    cpu, call = torch.device("cpu"), prepare()
    hardware.return_freed_memory()
    # Without a reset, the peak since the start counts; the result is too low if `prepare` used more than the call.
    before = hardware.read_status("VmRSS") if hardware.reset_peak_memory() else hardware.peak_memory(cpu)
    call()
    return hardware.peak_memory(cpu) - before


def measure_rates(device: torch.device, *, quick: bool = False) -> Rates:
    """Measure 3 x 3 convolutions of 128 channels at 56 x 56, batch 16, in every precision, and copies of 256 MiB."""
    cuda = device.type == "cuda"
    dtypes = [torch.float32, torch.float16] if cuda else [torch.float32]
    dtypes += [torch.bfloat16] if cuda or hardware.cpu_precision() == "bfloat16" else []
    n, side = (1, 14) if quick else (16, 56)
    rates = {}

    def best(call: Call) -> float:
        call()
        return min(timed(call, device) for _ in range(5))

    for dtype in dtypes:
        images = torch.randn(n, 128, side, side, device=device).to(dtype, memory_format=torch.channels_last)
        kernel = torch.randn(128, 128, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
        seconds = best(partial(F.conv2d, images, kernel, padding=1))
        rates[str(dtype).removeprefix("torch.")] = 2 * 9 * 128**2 * n * side**2 / seconds / 1e9
    source = torch.ones((1 if quick else 64) << 20, device=device)
    target = torch.empty_like(source)
    return Rates(rates, 2 * source.nbytes / best(partial(target.copy_, source)) / 1e9)


@cache
def least_seconds(network: str, size: int, rate: float) -> float:
    """Return the seconds of a network's convolutions on an image of `size` pixels at a `rate` in GFLOP/s."""
    with torch.device("meta"):
        return 2 * multiply_adds(build(network), size) / rate / 1e9


def stamp() -> dict[str, Any]:
    """Return machine, versions and date, the head of every results file."""
    date = datetime.now(UTC).date().isoformat()
    return {"machine": hardware.describe_machine(), "versions": hardware.list_versions(), "date": date}


def write_json(path: str | Path | None, content: dict[str, Any]) -> None:
    """Write a results file, creating its folder; None writes nothing."""
    if path is not None:
        file = expand(str(path))
        make_folder(file.parent)
        write_file(file, json.dumps(content, indent=2, allow_nan=False) + "\n")


def output(setting: str, given: str | None, usual: str, device: torch.device, quick: bool) -> Path | None:
    """Return a checked output file: `given`, or by default `usual` (with -cuda on a GPU), or None for quick runs."""
    if given is None and quick:
        return None
    path = expand(given or usual)
    if given is None and device.type == "cuda":
        path = path.with_stem(f"{path.stem}-cuda")
    require(setting, str(path), not path.is_dir(), "that is a folder; name a file in it")
    make_folder(path.parent)
    return path


def describe(bench: Bench, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of `results.json`."""
    content = stamp()
    for name in ("onnxruntime", "openvino", "pillow", "segmentation-models-pytorch"):  # of backends and peers
        with suppress(PackageNotFoundError):
            content["versions"][name] = version(name)
    content |= {"device": bench.device.type, "threads": bench.threads, "quick": bench.quick}
    return content | {"rates": asdict(bench.rates), "rows": [asdict(row) for row in rows]}


def write(path: Path, new: dict[str, Any]) -> None:
    """Write results, and keep the file's other rows if they were measured under the same conditions."""
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            rows = {row["name"]: row for row in [*old["rows"], *new["rows"]]}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"'{path}': holds no benchmark results ({error!r}); give another file (out=)") from error
        if all(old.get(key) == new[key] for key in ("machine", "versions", "device", "threads", "quick")):
            new = new | {"rows": list(rows.values())}
    write_json(path, new)

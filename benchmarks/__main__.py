"""Measures ours against its peers: one table on the screen, and `results.json`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Bench, Row
from benchmarks.limits import measure_rates
from benchmarks.results import describe, table, write
from facekp.cli import parse_cli
from facekp.errors import ConfigError, one_line_errors, require
from facekp.files import expand
from facekp.hardware import keep_freed_memory

GROUPS = ("loss", "step", "predict", "folder", "keypoints", "loader")
"""Each is a module of this package with `rows(bench: Bench) -> Iterator[Row]`."""
LEAST_REPEATS = 5


@dataclass
class Settings:
    """The settings of the command."""

    only: str = field(default=",".join(GROUPS), metadata={"help": "the groups to measure, with commas between"})
    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})
    out: str | None = field(
        default=None,
        metadata={"help": "file to write; null: benchmarks/results.json, -cuda on a GPU, none if quick"},
    )
    repeats: int = field(default=7, metadata={"help": "pairs of timed runs"})
    quick: bool = field(default=False, metadata={"help": "small sizes, to see that it works"})
    compile: bool = field(default=False, metadata={"help": "measure torch.compile too; takes minutes"})
    root: str | None = field(default=None, metadata={"help": "data set of the loader's rows; null draws faces"})
    cache: str = field(default="~/.cache/facekp", metadata={"help": "where drawn faces are kept"})

    def __post_init__(self) -> None:
        """Check values."""
        require("device", self.device, self.device in ("auto", "cpu", "cuda"), "choose auto, cpu or cuda")
        require("repeats", self.repeats, self.repeats >= LEAST_REPEATS, f"give at least {LEAST_REPEATS}")
        for group in self.groups:
            require("only", group, group in GROUPS, f"choose from {', '.join(GROUPS)}")

    @property
    def groups(self) -> list[str]:
        """The groups to measure."""
        return self.only.split(",")

    def path(self, device: torch.device) -> Path | None:
        """Return the file to write, with null resolved."""
        if self.out is not None:
            return expand(self.out)
        name = "results-cuda.json" if device.type == "cuda" else "results.json"
        return None if self.quick else Path(__file__).parent / name


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is CUDA where there is one.

    Raises:
        ConfigError: CUDA, and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', and torch finds no CUDA device: take device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def measure(settings: Settings) -> dict[str, Any]:
    """Measure what `settings` ask for, write it, and return the content of `results.json` for what was measured."""
    device = choose_device(settings.device)
    torch.backends.cudnn.benchmark = True  # for all alike; sizes are fixed
    torch.manual_seed(0)
    bench = Bench(
        device=device,
        rates=measure_rates(device, quick=settings.quick),
        repeats=settings.repeats,
        quick=settings.quick,
        compile=settings.compile,
        root=expand(settings.root) if settings.root else None,
        cache=expand(settings.cache),
    )
    path, rows = settings.path(device), list[Row]()
    for group in settings.groups:
        for row in import_module(f"benchmarks.{group}").rows(bench):
            print(f"measured {row.name}", file=sys.stderr)
            rows.append(row)
            # After each row: a stop loses none that are finished.
            if path:
                write(path, describe(bench, rows))
    if path:
        print(f"written to {path}", file=sys.stderr)
    return describe(bench, rows)


def main(argv: Sequence[str]) -> None:
    """Measure what `argv` asks for, and print it."""
    keep_freed_memory()  # as train.py does, for all alike
    settings = parse_cli(Settings, argv, program="python -m benchmarks", about=__doc__ or "")
    print(table(measure(settings)["rows"]))


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

"""Benchmarks of facekp and its peers: a table on the screen, and `results.json`."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pkgutil import resolve_name
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.harness import Bench, Row, describe, measure_rates, output, run, write
from facekp.errors import require
from facekp.hardware import resolve_device
from facekp.settings import Settings, at_least, one_of, setting

GROUPS = {"loss": "loss:rows", "step": "step:rows", "predict": "predict:predict_rows", "folder": "predict:folder_rows",
          "keypoints": "predict:keypoint_rows", "loader": "loader:rows", "gpu": "gpu:rows"}  # fmt: skip
"""Functions that yield the rows; imported late, since every process that measures memory imports this module."""


@dataclass
class Options(Settings):
    """Groups and sizes."""

    only: str = setting(
        ",".join(group for group in GROUPS if group != "gpu"),
        f"the groups to measure, separated by commas: {', '.join(GROUPS)}",
    )
    device: str = setting("auto", "auto, cpu or cuda", check=one_of("auto", "cpu", "cuda"))
    out: str | None = setting(None, "file to write; null: benchmarks/results.json, -cuda on a GPU, none if quick")
    repeats: int = setting(7, "pairs of timed runs", check=at_least(5))
    quick: bool = setting(False, "small sizes, to check that everything runs")
    compile: bool = setting(False, "also measure torch.compile; takes minutes")
    root: str | None = setting(None, "data set of the loader's rows; null draws faces")
    cache: str = setting("~/.cache/facekp", "folder of the drawn faces")

    def __post_init__(self) -> None:
        super().__post_init__()
        for group in self.only.split(","):
            require("only", group, group in GROUPS, f"choose from {', '.join(GROUPS)}")


def main(settings: Options) -> None:
    """Measure the chosen groups, write the file after every row, and print a table."""
    device = resolve_device(settings.device)
    torch.backends.cudnn.benchmark = True  # for ours and peers; sizes are fixed
    torch.manual_seed(0)
    path = output("out", settings.out, "benchmarks/results.json", device, settings.quick)
    same = {name: getattr(settings, name) for name in ("repeats", "quick", "compile", "root", "cache")}
    bench, rows = Bench(device, measure_rates(device, quick=settings.quick), **same), list[Row]()
    for group in settings.only.split(","):
        for row in resolve_name(f"benchmarks.{GROUPS[group]}")(bench):
            print(f"measured {row.name}", file=sys.stderr)
            rows.append(row)
            if path:
                write(path, describe(bench, rows))
    print(f"written: {path or 'no file'}", file=sys.stderr)
    print(table([asdict(row) for row in rows]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    headers = ["row", "unit", "ours", "peer", "ratio", "spread", "memory, MiB", "limit", "of it", "peer is", "note"]
    lines = []
    for row in rows:
        limit = min((row["limit"] or {}).values(), default=None)
        spread, memory = (" to ".join(f"{v:.3g}" for v in row["spread"] or ()), (row["memory"] or {}).values())
        numbers = [*(row[key] for key in ("ours", "peer", "ratio")), spread, " / ".join(f"{v:.0f}" for v in memory)]
        share = f"{limit / row['ours']:.0%}" if limit else None
        lines.append([row["name"], row["unit"], *numbers, limit, share, row["peer_name"], row["note"]])
    widths = [None] * (len(headers) - 2) + [24, 40]
    return str(tabulate(lines, headers, floatfmt=".3g", missingval="-", maxcolwidths=widths))


if __name__ == "__main__":
    run(Options, main, __doc__)

"""Tries to lose, break and hang everything: `python -m benchmarks.campaign [parts=[kills,inputs,...]]`."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tabulate import tabulate

from benchmarks.campaign import damage, surroundings
from benchmarks.campaign.world import Row, World, build
from benchmarks.harness import run
from facekp.files import expand, to_json, write_file
from facekp.hardware import describe_machine, list_versions
from facekp.settings import Settings, at_least, each, one_of, setting

PARTS: Final[dict[str, Callable[[World, np.random.Generator, int], Iterator[Row]]]] = {
    "kills": damage.kills, "inputs": damage.inputs, "faults": damage.faults, "disks": surroundings.disks,
    "memory": surroundings.memory, "names": surroundings.names, "code": surroundings.code,
    "threads": surroundings.threads,
}  # fmt: skip


@dataclass
class Options(Settings):
    """What is tried, and how often."""

    parts: list[str] = setting(list(PARTS), f"any of {', '.join(PARTS)}", each(one_of(*PARTS), such_as="[kills]"))
    cases: list[str] = setting([], "only these cases of the parts, such as [train]; []: all")
    kills: int = setting(200, "commands that are killed", at_least(1))
    inputs: int = setting(2000, "damaged files", at_least(1))
    faults: int = setting(1000, "calls that fail, at most, of each command", at_least(1))
    disks: int = setting(8, "sizes of a disk that is too small, for each command", at_least(1))
    memory: int = setting(6, "limits of memory", at_least(1))
    threads: int = setting(10, "minutes in 40 threads", at_least(1))
    seed: int = setting(0, "random seed", at_least(0))
    out: str | None = setting("benchmarks/campaign.json", "file that the run is added to; null: none")
    work: str | None = setting(None, "folder for what is tried on, kept and used again; null: a temporary one")


def main(options: Options) -> None:
    """Run the parts, add each try to the file, and print its table; exit with 1 after a failure of this run."""
    torch.set_num_threads(1)  # commands run in forks of this process
    settings = {name: value for name, value in asdict(options).items() if name not in ("out", "work")}
    about = {"machine": describe_machine(), "versions": list_versions(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    out, rows = expand(options.out) if options.out else None, list[Row]()
    runs = earlier = json.loads(out.read_text())["runs"] if out and out.is_file() else []
    with tempfile.TemporaryDirectory(prefix="campaign") as temporary:
        folder = expand(options.work) if options.work else Path(temporary)
        world = build(folder.resolve(), options.cases)
        for part in options.parts:
            shutil.rmtree(folder / part, ignore_errors=True)
            rng = np.random.default_rng((options.seed, list(PARTS).index(part)))
            for row in PARTS[part](world, rng, getattr(options, part, 1)):
                if not rows or rows[-1] is not row:
                    rows.append(row)
                print(f"{part}, {row.case}: {row.tried} tried, {len(row.failures)} failures", file=sys.stderr)
                runs = [*earlier, about | {"settings": settings, "rows": [asdict(row) for row in rows]}]
                if out:
                    write_file(out, to_json({"runs": runs}, indent=True))
    for row in rows:
        print(*row.failures, sep="\n")
    print(table(runs))
    if any(row.failures for row in rows):
        sys.exit(1)


def table(runs: list[dict[str, Any]]) -> str:
    """Return a table of the rows of some runs; equal cases are added up."""
    lines: dict[tuple[str, str], list[Any]] = {}
    for row in (row for each_run in runs for row in each_run["rows"]):
        line = lines.setdefault((row["part"], row["case"]), [0, 0, 0, ""])
        line[:] = line[0] + row["tried"], line[1] + row.get("results", 0), line[2] + len(row["failures"]), row["note"]
    columns = ["part", "case", "tried", "gave results", "failures", "note"]
    return str(tabulate([(*case, *line) for case, line in lines.items()], columns, "github"))


if __name__ == "__main__":
    run(Options, main, __doc__)

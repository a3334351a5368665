"""Tries to lose, break and hang everything: `python -m benchmarks.campaign [parts=[kills,inputs,...]]`."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

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
    kills: int = setting(200, "commands that are killed", at_least(1))
    inputs: int = setting(2000, "damaged files", at_least(1))
    faults: int = setting(1000, "calls that fail, at most, of each command", at_least(1))
    disks: int = setting(8, "sizes of a disk that is too small, for each command", at_least(1))
    memory: int = setting(6, "limits of memory", at_least(1))
    threads: int = setting(10, "minutes in 40 threads", at_least(1))
    seed: int = setting(0, "random seed", at_least(0))
    out: str | None = setting("benchmarks/campaign.json", "file to write; null: none")
    work: str | None = setting(None, "folder for what is tried on, kept and used again; null: a temporary one")


def main(options: Options) -> None:
    """Run the parts, write the file after each row, and print a table; exit with 1 after a failure."""
    torch.set_num_threads(1)  # commands run in forks of this process
    settings = {name: value for name, value in asdict(options).items() if name not in ("out", "work")}
    about = {"machine": describe_machine(), "versions": list_versions(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    rows, about = list[Row](), about | {"settings": settings}
    with tempfile.TemporaryDirectory(prefix="campaign") as temporary:
        folder = expand(options.work) if options.work else Path(temporary)
        world = build(folder.resolve())
        for number, part in enumerate(options.parts):
            shutil.rmtree(folder / part, ignore_errors=True)
            rng = np.random.default_rng((options.seed, list(PARTS).index(part)))
            for row in PARTS[part](world, rng, getattr(options, part, 1)):
                rows.append(row)
                print(f"{number + 1}/{len(options.parts)} {part}, {row.case}: {row.tried}", *row.failures, sep="\n  ",
                      file=sys.stderr)  # fmt: skip
                if options.out:
                    write_file(expand(options.out), to_json(about | {"rows": [asdict(r) for r in rows]}, indent=True))
    print(table(rows))
    if any(row.failures for row in rows):
        sys.exit(1)


def table(rows: list[Row]) -> str:
    """Return the rows as a table."""
    lines = [(row.part, row.case, row.tried, len(row.failures), row.note) for row in rows]
    return str(tabulate(lines, ["part", "case", "tried", "failures", "note"], tablefmt="github"))


if __name__ == "__main__":
    run(Options, main, __doc__)

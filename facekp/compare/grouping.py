"""Runs as rows of a comparison: seeds together, named by the settings that differ, ranked."""

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from facekp.compare.reading import RunResult

ASIDE = (
    "output_dir",
    "resume",
    "logger.",
    "callbacks.progress",
    "data.cache",
    "data.decoded",
    "data.exclude",
    "data.workers",
)
"""Settings, and groups of them, on which no score depends."""
NETWORK = ("model.name", "model.arch")
"""Settings that say which network it is: first in a label, as their values alone."""
LONGEST = 60  # characters of a label; a legend has no room for more


class Spread(NamedTuple):
    """Mean and sample standard deviation of `n` values; None of one value, nan where one of them is not finite."""

    mean: float
    deviation: float | None
    n: int

    def text(self, show: Callable[[float], str]) -> str:
        """Return "0.562 ± 0.007", or "0.562" of one value or of equal ones, or "nan"."""
        spread = f" ± {show(self.deviation)}" if self.deviation and math.isfinite(self.deviation) else ""
        return show(self.mean) + spread


@dataclass(frozen=True)
class Row:
    """Runs that are equal in all settings but the seed.

    Attributes:
        label: unique among the rows.
        runs: one or more, in the order of their seeds.
    """

    label: str
    runs: Sequence[RunResult]

    @property
    def finished(self) -> list[RunResult]:
        """The runs that have finished."""
        return [run for run in self.runs if run.status == "finished"]

    @property
    def counted(self) -> Sequence[RunResult]:
        """The runs that figures are of: those that have finished, or where none has, all, as far as they came."""
        return self.finished or self.runs

    @property
    def status(self) -> str:
        """The status of the run, or how many of the runs have which."""
        if len(self.runs) == 1:
            return self.runs[0].status_text
        counts = Counter(run.status for run in self.runs)
        return "finished" if len(counts) == 1 and self.finished else ", ".join(f"{n} {s}" for s, n in counts.items())

    def spread(self, figure: str) -> Spread | None:
        """Summarise a figure; None where a run lacks it, since a mean over the others would compare unlike things."""
        values = [run.figures.get(figure) for run in self.counted]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        if len(known) < 2:
            return Spread(known[0], None, 1)
        # statistics.stdev raises an error of its own for what a run that diverged has.
        deviation = statistics.stdev(known) if all(map(math.isfinite, known)) else math.nan
        return Spread(statistics.fmean(known), deviation, len(known))


def rank(runs: Sequence[RunResult]) -> list[Row]:
    """Group runs into rows: those with a finished run by mIoU, best first, then the others in the order given."""
    groups: dict[tuple[str, int], list[RunResult]] = defaultdict(list)
    seen: Counter[tuple[str, Any]] = Counter()
    for run in runs:
        same = _without_seed(run)
        seed = (same, run.settings.get("seed"))
        # A seed that comes again is no other sample: it begins another row.
        groups[same, seen[seed]].append(run)
        seen[seed] += 1
    labels = _labels([group[0] for group in groups.values()])
    rows = [
        Row(label, sorted(group, key=lambda run: run.settings.get("seed", 0)))
        for label, group in zip(labels, groups.values(), strict=True)
    ]
    return sorted(rows, key=_place)


def differing(runs: Sequence[RunResult]) -> dict[str, list[Any]]:
    """Return the settings that differ, with every run's value; None where a run has no such setting.

    Runs whose settings are not known are left out of the question whether they differ.
    """
    names = dict.fromkeys(name for run in runs for name in run.settings if not name.startswith(ASIDE))
    known = [run.settings for run in runs if run.settings]
    return {
        name: [run.settings.get(name) for run in runs]
        for name in names
        if _vary(settings.get(name, "no such setting") for settings in known)
    }


def show_value(value: Any) -> str:
    """Return a setting's value as it is written on the command line; numbers with at most 6 digits.

    Example:
        >>> show_value(10.0), show_value(None), show_value([0.5, 1])
        ('10', 'null', '[0.5, 1]')
    """
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _place(row: Row) -> float:
    spread = row.spread("best.miou") if row.finished else None
    return -spread.mean if spread else 1.0


def _vary(values: Iterable[Any]) -> bool:
    return len({json.dumps(value, sort_keys=True) for value in values}) > 1


def _without_seed(run: RunResult) -> str:
    kept = {name: v for name, v in run.settings.items() if name != "seed" and not name.startswith(ASIDE)}
    # A run whose settings are not known is like no other.
    return json.dumps(kept or str(run.path), sort_keys=True)


def _labels(firsts: Sequence[RunResult]) -> list[str]:
    """Name every row by what sets it apart, or by its first run's folder where that is too long."""
    # A setting that only some networks have does not set those apart that have it.
    apart = [
        name
        for name in differing(firsts)
        if name not in ("seed", *NETWORK) and _vary(run.settings[name] for run in firsts if name in run.settings)
    ]
    if len(firsts) == 1 or set(NETWORK) & set(differing(firsts)):
        apart = [*NETWORK, *apart]
    labels = []
    for run in firsts:
        label = " ".join(_part(name, run.settings[name], apart) for name in apart if name in run.settings)
        labels.append(label if 0 < len(label) <= LONGEST else run.name)
    for more in ([run.name for run in firsts], [str(run.path) for run in firsts]):
        count = Counter(labels)
        labels = [label if count[label] == 1 else f"{label} ({m})" for label, m in zip(labels, more, strict=True)]
    return labels


def _part(name: str, value: Any, apart: Sequence[str]) -> str:
    """Return `lr=0.1` for optim.lr, the whole name where another setting ends alike, and a network's name alone."""
    if name in NETWORK:
        return str(value)
    last = name.rpartition(".")[2]
    alike = sum(other.rpartition(".")[2] == last for other in apart) > 1
    return f"{name if alike else last}={show_value(value)}"

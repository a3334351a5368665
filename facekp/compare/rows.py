"""Runs as one table: seeds grouped into rows, rows named by the settings that differ, and ranked."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from facekp.compare.runs import Run
from facekp.config import Config
from facekp.settings import Affects, settings_that

NETWORK = ("model.name", "model.arch")  # settings that identify the network: first in a label, as bare values
ASIDE = settings_that(Config, Affects.SPEED, Affects.PLACE)  # settings that do not affect scores
MAX_LABEL = 60  # characters; a legend has no room for more


def differing(runs: Sequence[Run], *, where_present: bool = False) -> pd.DataFrame:
    """Return the settings that differ between runs, as text: one line per run, NaN where a run has no such setting.

    Runs with unknown settings are ignored. A missing setting counts as a value, unless `where_present` ignores the runs
    that lack it.
    """
    table = pd.DataFrame([{k: show_value(v) for k, v in run.settings.items() if k not in ASIDE} for run in runs])
    known = table[[bool(run.settings) for run in runs]]
    return table.loc[:, known.nunique(dropna=where_present) > 1] if len(known) else table


def tabulate_runs(runs: Sequence[Run], target: float | None, seconds: float | None) -> pd.DataFrame:
    """Return one line per run: `run`, `path`, `row`, `seed`, `status`, ..., and every figure as a column of floats.

    Runs that differ only in their seed share a `row`. Rows with a finished run come first, by mean mIoU; `rank` is NaN
    for the others. `counted` marks the runs that figures are averaged over: those that finished or, if none did, all.

    The figures include `target.*` for the mIoU `target`, and `equal.*` for the wall time `seconds`, if not None.
    """
    figures = [{**r.figures, **r.reaching(target), **r.stopped_after(seconds)} for r in runs]
    known = [
        {"run": r.name, "path": r.path, "status": r.status, "status_text": r.status_text, "error": r.error,
         "seed": r.settings.get("seed"), "steps": r.steps, **r.about} for r in runs
    ]  # fmt: skip
    table = pd.concat([pd.DataFrame(known), pd.DataFrame(figures).astype(float)], axis=1)
    # A run with unknown settings is its own group, and so is a repeated seed, which is not another sample.
    kept = [{name: v for name, v in r.settings.items() if name != "seed" and name not in ASIDE} for r in runs]
    table["group"] = [json.dumps(own or str(run.path), sort_keys=True) for own, run in zip(kept, runs, strict=True)]
    table["group"] += table.groupby(["group", "seed"], dropna=False).cumcount().astype(str)
    firsts = table["group"].drop_duplicates()
    labels = _labels([runs[i] for i in firsts.index])
    table["row"] = table["group"].map(dict(zip(firsts, labels, strict=True)))
    table["finished"] = table["status"] == "finished"
    table["counted"] = table["finished"] | ~table.groupby("row")["finished"].transform("any")
    if "best.miou" not in table:
        table["best.miou"] = float("nan")
    score = table["best.miou"].where(table["finished"]).groupby(table["row"]).transform("mean")
    table["rank"] = score.rank(method="dense", ascending=False)
    table["order"] = table.groupby("row", sort=False).ngroup()
    return table.sort_values(["rank", "order", "seed"], kind="stable").drop(columns=["group", "order"])


def show_value(value: Any) -> str:
    """Return a setting's value as written on the command line; numbers with at most 6 digits.

    Example:
        >>> show_value(10.0), show_value(None), show_value([0.5, 1])
        ('10', 'null', '[0.5, 1]')
    """
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _labels(firsts: Sequence[Run]) -> list[str]:
    """Name every row by the settings that set it apart, or by its first run's folder if that is too long."""
    apart = [name for name in differing(firsts, where_present=True) if name not in ("seed", *NETWORK)]
    if len(firsts) == 1 or {*NETWORK} & {*differing(firsts)}:
        apart = [*NETWORK, *apart]
    last = Counter(name.rpartition(".")[2] for name in apart)
    short = {name: own if last[own := name.rpartition(".")[2]] == 1 else name for name in apart}
    labels = []
    for run in firsts:
        shown = {name: show_value(run.settings[name]) for name in apart if name in run.settings}
        label = " ".join(v if name in NETWORK else f"{short[name]}={v}" for name, v in shown.items())
        labels.append(label if 0 < len(label) <= MAX_LABEL else run.name)
    for more in ([run.name for run in firsts], [str(run.path) for run in firsts]):
        count = Counter(labels)
        labels = [label if count[label] == 1 else f"{label} ({m})" for label, m in zip(labels, more, strict=True)]
    return labels

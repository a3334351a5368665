"""The tables of a comparison."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
from tabulate import tabulate

from facekp.classes import BACKGROUND
from facekp.compare.rows import differing
from facekp.compare.runs import CURVES, Run

NONE = "–"  # noqa: RUF001  # a hyphen would pass for a minus
SCORES = {"step": "step", "mIoU": "miou", "mean F1": "mean_f1", "pixel accuracy": "pixel_accuracy", "loss": "loss"}
LOSSES = SCORES | {"training loss": "train_loss"}
F1 = "best.f1."
COST = {
    "parameters, M": "cost.parameters",
    "multiply-adds, G": "cost.multiply_adds",
    "images/s": "cost.images_per_second",
    "peak memory, MiB": "cost.peak_memory",
    "wall time": "seconds",
}
SHOWN = {
    "cost.parameters": (1e6, ",.2f"),
    "cost.multiply_adds": (1e9, ",.2f"),
    "cost.images_per_second": (1, ",.1f"),
    "cost.peak_memory": (1, ",.0f"),
}
"""Unit and number format of each figure."""


class Table(NamedTuple):
    """A table of text: its title, a note on how to read it, and its cells."""

    title: str
    note: str
    cells: pd.DataFrame

    def text(self, style: str) -> str:
        """Return the table in one of tabulate's formats."""
        cells = self.cells
        if style == "github":  # a bar or a line break would end the cell
            cells = cells.map(lambda cell: cell.replace("|", "\\|").replace("\n", " "))
        return str(tabulate(cells.values.tolist(), list(cells), tablefmt=style, disable_numparse=True))


def build_tables(runs: Sequence[Run], table: pd.DataFrame, target: float | None, seconds: float | None) -> list[Table]:
    """Return all tables that are not empty, the ranking first; the other arguments are those of `tabulate_runs`."""
    ends = ("best", "top"), ("last", "last")
    extremes = {f"{title}, {end}": f"{which}.{name}" for name, title in CURVES.items() for end, which in ends}
    cost, reached = COST, ""
    if target is not None:
        cost = COST | {f"steps to mIoU {target:g}": "target.step", f"time to mIoU {target:g}": "target.seconds"}
        reached = (
            f" The first validation with mIoU {target:g} or more counts; {NONE}: not reached, or not by every seed."
        )
    tables = [
        Table(
            "Best checkpoints",
            "Validation scores of the best checkpoint, chosen by callbacks.monitor; training loss: mean of the 100 "
            "steps before it. Finished runs are ranked by mIoU. Several seeds: mean ± sample standard deviation.",
            pd.concat([_heads(table), _cells(table, LOSSES, "best.").iloc[:, 1:]], axis=1),
        ),
        Table(
            "Best and last",
            "Best and last value of each curve: lowest loss, highest score, not necessarily of one checkpoint. "
            "Training loss: mean of the 100 steps before a validation. Losses are summed over all heads: compare them "
            "among networks with equally many.",
            _cells(table, extremes),
        ),
        Table(
            "At equal wall time",
            "Scores with the highest mIoU within the wall time of the shortest finished run, "
            f"{show_duration(seconds or 0)}, interpolated between validations. The others' learning rates were still "
            "high then.",
            _cells(table, LOSSES, "equal."),
        ),
        Table("Test split", "Scores of the best checkpoint.", _cells(table, SCORES, "test.")),
        Table(
            "Cost",
            "Multiply-adds of one training crop; images/s: median in training; peak memory of one process. Wall times "
            f"include validation, and other work on the machine.{reached}",
            _cells(table, cost),
        ),
        Table(
            "Settings that differ",
            f"{NONE}: null, or no such setting. Settings that cannot change a score are left out.",
            _settings([runs[i] for i in table.index if runs[i].settings]),
        ),
        Table("F1 by class", "Validation scores of the best checkpoint.", _classes(table)),
        Table(
            "Every run",
            "Pruned: stopped by a search. Unfinished: stopped otherwise, or still running. Missing: no such folder.",
            _every_run(table),
        ),
    ]
    return [t for t in tables if len(t.cells) and len(t.cells.columns) > 1]


def spreads(table: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Return `mean`, `std` (sample) and `count` of a figure over each row's counted runs, by row, in the table's order.

    The mean is NaN where a run lacks the figure: a mean over the others would compare unlike things.
    """
    values = table[table["counted"]].get(figure, pd.Series(index=table.index[table["counted"]], dtype=float))
    grouped = values.groupby(table["row"], sort=False)
    found = grouped.agg(["mean", "std", "count"])
    return found.mask(grouped.size() > found["count"])


def show_spread(spread: pd.Series, figure: str) -> str:
    """Return "0.562 ± 0.007"; "0.562" for one value or equal ones; a dash for an unknown mean."""
    if pd.isna(spread["mean"]):
        return NONE
    deviation = f" ± {show_figure(spread['std'], figure)}" if spread["std"] > 0 else ""
    return show_figure(spread["mean"], figure) + deviation


def show_duration(seconds: float) -> str:
    """Return "8 s", "36 min 39 s", or "1 h 13 min".

    Example:
        >>> show_duration(4433.14)
        '1 h 13 min'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def show_figure(value: float, figure: str) -> str:
    """Return a figure as text: scores with 3 digits, durations as such, others as in `SHOWN`."""
    name = figure.rpartition(".")[2]
    if name == "seconds":
        return show_duration(value)
    unit, digits = SHOWN.get(figure, (1, ",.0f" if name == "step" else ".3f" if abs(value) < 1e4 else ".1e"))
    return f"{value / unit:{digits}}"  # a loss that has diverged is shown by its magnitude


def _cells(table: pd.DataFrame, columns: dict[str, str], prefix: str = "") -> pd.DataFrame:
    """Return one line per row with the figures of `columns`; no line if every figure is unknown."""
    cells = pd.DataFrame({"run": pd.unique(table["row"])})
    for title, name in columns.items():
        figure = prefix + name
        cells[title] = spreads(table, figure).apply(show_spread, axis=1, figure=figure).tolist()
    return cells[0:0] if (cells[list(columns)] == NONE).all(axis=None) else cells


def _heads(table: pd.DataFrame) -> pd.DataFrame:
    """Return place, label, status and seeds of every row."""
    lines = []
    for place, (label, runs) in enumerate(table.groupby("row", sort=False), 1):
        some = ", ".join(f"{n} {status}" for status, n in runs["status"].value_counts(sort=False).items())
        status = runs["status_text"].iloc[0] if len(runs) == 1 else "finished" if runs["finished"].all() else some
        seeds = ", ".join(_shown(runs["seed"][runs["counted"]], "{:.0f}".format))
        lines.append(
            {"#": str(place) if runs["finished"].any() else NONE, "run": label, "status": status, "seeds": seeds}
        )
    return pd.DataFrame(lines)


def _settings(known: Sequence[Run]) -> pd.DataFrame:
    names = pd.Series([run.name for run in known], name="folder or file", dtype=str)
    return pd.concat([names, differing(known).fillna(NONE).replace("null", NONE)], axis=1)


def _classes(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line per class, with a column for every row whose F1 is known."""
    cells = _cells(table, {name: name for name in class_names(table)}, F1).set_index("run")
    return cells[(cells != NONE).any(axis=1)].T.rename_axis(columns=None).reset_index(names="class")


def class_names(table: pd.DataFrame) -> list[str]:
    """Return the classes that the runs' mean F1 averages, in the order of their ids."""
    names = [column.removeprefix(F1) for column in table if column.startswith(F1)]
    return [name for name in names if name != BACKGROUND]


def _every_run(table: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "folder or file": table["run"],
        "run": table["row"],
        "seed": _shown(table["seed"], "{:.0f}".format),
        "status": table["status_text"],
        "best mIoU": _shown(table["best.miou"], "{:.4f}".format),
        "wall time": _shown(table["seconds"], show_duration),
        "error of its last start": table["error"],
    }
    return pd.DataFrame(columns)


def _shown(values: pd.Series, show: Callable[[float], str]) -> pd.Series:
    return values.map(lambda value: NONE if pd.isna(value) else show(value))

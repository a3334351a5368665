"""The tables of a comparison."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
from tabulate import tabulate

from facekp.classes import ATTRIBUTES
from facekp.compare.rows import differing, show_value
from facekp.compare.runs import Run

NONE = "–"  # noqa: RUF001  # a hyphen would pass for a minus
CLASSES = ATTRIBUTES[1:]
"""The classes that mean F1 averages."""
SCORES = {
    "step": "step", "mIoU": "miou", "mean F1": "mean_f1", "pixel accuracy": "pixel_accuracy", "loss": "loss",
    "training loss": "train_loss",
}  # fmt: skip
CURVES = {
    f"{title}, {when}": f"{which}.{name}"
    for title, name in (
        ("training loss", "train_loss"), ("validation loss", "loss"), ("mIoU", "miou"), ("mean F1", "mean_f1")
    )
    for when, which in (("best", "top"), ("last", "last"))
}  # fmt: skip


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
    """Return every table that has something to show; the ranking comes first.

    Args:
        runs: the runs.
        table: what `tabulate_runs` made of them.
        target: the mIoU of the `target.*` figures, or None.
        seconds: the wall time of the `equal.*` figures, or None.
    """
    scores = {
        which: {title: f"{which}.{name}" for title, name in SCORES.items()} for which in ("best", "equal", "test")
    }
    del scores["test"]["training loss"]
    cost = {
        "parameters, M": "cost.parameters", "multiply-adds, G": "cost.multiply_adds",
        "images/s": "cost.images_per_second", "peak memory, MiB": "cost.peak_memory", "wall time": "seconds",
    }  # fmt: skip
    reached = ""
    if target is not None:
        cost |= {f"steps to mIoU {target:g}": "target.step", f"time to mIoU {target:g}": "target.seconds"}
        reached = (
            f" The first validation with mIoU {target:g} or more counts; {NONE}: not reached, or not by every seed."
        )
    tables = [
        Table(
            "Best checkpoints",
            "Validation scores of the best checkpoint, chosen by callbacks.monitor; training loss: mean of the 100 "
            "steps before it. Finished runs are ranked by mIoU. Several seeds: mean ± sample standard deviation.",
            pd.concat([_heads(table), _cells(table, scores["best"]).iloc[:, 1:]], axis=1),
        ),
        Table(
            "Best and last",
            "Best and last value of each curve: lowest loss, highest score, not necessarily of one checkpoint. "
            "Training loss: mean of the 100 steps before a validation. Losses are summed over all heads: compare them "
            "among networks with equally many.",
            _cells(table, CURVES),
        ),
        Table(
            "At equal wall time",
            "Scores with the highest mIoU within the wall time of the shortest finished run, "
            f"{show_duration(seconds or 0)}, interpolated between validations. The others' learning rates were still "
            "high then.",
            _cells(table, scores["equal"]),
        ),
        Table("Test split", "Scores of the best checkpoint.", _cells(table, scores["test"])),
        Table(
            "Cost",
            "Multiply-adds of one training crop; images/s: median in training; peak memory of one process. Wall times "
            f"include validation, and other work on the machine.{reached}",
            _cells(table, cost),
        ),
        _settings(runs, table),
        _classes(table),
        _every_run(table),
    ]
    return [t for t in tables if len(t.cells)]


def spreads(table: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Return `mean`, `std` (sample) and `count` of a figure over each row's counted runs, by row, in the table's order.

    The mean is NaN where a run lacks the figure: a mean over the others would compare unlike things.
    """
    values = table[table["counted"]].get(figure, pd.Series(index=table.index[table["counted"]], dtype=float))
    grouped = values.groupby(table["row"], sort=False)
    found = grouped.agg(["mean", "std", "count"])
    return found.mask(grouped.size() > found["count"])


def show_spread(spread: pd.Series, show: Callable[[float], str]) -> str:
    """Return "0.562 ± 0.007"; "0.562" for one value or equal ones; a dash for an unknown mean."""
    if pd.isna(spread["mean"]):
        return NONE
    return show(spread["mean"]) + (f" ± {show(spread['std'])}" if spread["std"] > 0 else "")


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


def show_figure(figure: str) -> Callable[[float], str]:
    """Return how a figure is shown: scores with 3 digits, counts with none, durations as such."""
    shown: dict[str, Callable[[float], str]] = {
        "cost.parameters": lambda value: f"{value / 1e6:,.2f}",
        "cost.multiply_adds": lambda value: f"{value / 1e9:,.2f}",
        "cost.images_per_second": lambda value: f"{value:,.1f}",
        "cost.peak_memory": lambda value: f"{value:,.0f}",
        "step": lambda value: f"{value:,.0f}",
        "seconds": show_duration,
    }
    # A loss that has diverged is shown by its magnitude.
    score: Callable[[float], str] = lambda value: f"{value:.3f}" if abs(value) < 1e4 else f"{value:.1e}"  # noqa: E731
    return shown.get(figure) or shown.get(figure.rpartition(".")[2], score)


def _cells(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Return one line per row; none where every figure is unknown."""
    shown = {
        title: spreads(table, figure).apply(show_spread, axis=1, show=show_figure(figure))
        for title, figure in columns.items()
    }
    cells = pd.DataFrame(
        {"run": pd.unique(table["row"]), **{title: column.tolist() for title, column in shown.items()}}
    )
    return cells[0:0] if (cells.iloc[:, 1:] == NONE).all(axis=None) else cells


def _heads(table: pd.DataFrame) -> pd.DataFrame:
    """Return place, label, status and seeds of every row."""
    lines = []
    for place, (label, runs) in enumerate(table.groupby("row", sort=False), 1):
        counts = Counter(runs["status"])
        some = ", ".join(f"{n} {status}" for status, n in counts.items())
        status = runs["status_text"].iloc[0] if len(runs) == 1 else "finished" if runs["finished"].all() else some
        seeds = ", ".join(NONE if pd.isna(seed) else f"{seed:.0f}" for seed in runs["seed"][runs["counted"]])
        lines.append(
            {"#": str(place) if runs["finished"].any() else NONE, "run": label, "status": status, "seeds": seeds}
        )
    return pd.DataFrame(lines)


def _settings(runs: Sequence[Run], table: pd.DataFrame) -> Table:
    known = [runs[i] for i in table.index if runs[i].settings]
    apart = differing(known).fillna(NONE).replace("null", NONE)
    cells = pd.concat([pd.Series([run.name for run in known], name="folder or file", dtype=str), apart], axis=1)
    note = f"{NONE}: null, or no such setting. Settings that cannot change a score are left out."
    return Table("Settings that differ", note, cells if len(apart.columns) else cells[0:0])


def _classes(table: pd.DataFrame) -> Table:
    labels = spreads(table, "best.miou").dropna(subset="mean").index
    show = show_figure("best.f1")
    columns = {
        name: spreads(table, f"best.f1.{name}").loc[labels].apply(show_spread, axis=1, show=show) for name in CLASSES
    }
    cells = pd.DataFrame(columns, index=labels).T.reset_index(names="class")
    return Table("F1 by class", "Validation scores of the best checkpoint.", cells if len(labels) else cells[0:0])


def _every_run(table: pd.DataFrame) -> Table:
    cells = pd.DataFrame({
        "folder or file": table["run"],
        "run": table["row"],
        "seed": table["seed"].map(lambda seed: NONE if pd.isna(seed) else show_value(int(seed))),
        "status": table["status_text"],
        "best mIoU": table["best.miou"].map(lambda miou: NONE if pd.isna(miou) else f"{miou:.4f}"),
        "wall time": table["seconds"].map(lambda s: NONE if pd.isna(s) else show_duration(s)),
        "error of its last start": table["error"],
    })  # fmt: skip
    note = "Pruned: stopped by a search. Unfinished: stopped otherwise, or still running. Missing: no such folder."
    return Table("Every run", note, cells)

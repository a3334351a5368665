"""The tables of a comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tabulate import tabulate

from facekp.classes import ATTRIBUTES
from facekp.compare.grouping import Row, differing, show_value

NONE = "–"  # noqa: RUF001  # a hyphen would pass for a minus
CLASSES = ATTRIBUTES[1:]
"""The classes that mean F1 averages."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: what it shows.
        note: how to read it.
        header: the columns' names.
        rows: cells.
    """

    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self, style: str) -> str:
        """Return header and rows in one of tabulate's formats."""
        cells = self.rows
        if style == "github":
            # A bar or a line's end would end the cell.
            cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
        return str(tabulate(cells, self.header, tablefmt=style, disable_numparse=True))


class Column(NamedTuple):
    """A figure of `RunResult.figures`, and how it is shown."""

    name: str
    figure: str
    show: Callable[[float], str]


def build_tables(rows: Sequence[Row], target: float | None, seconds: float | None) -> list[Table]:
    """Return every table that has something to show; the ranking is the first.

    Args:
        rows: as `rank` gives them.
        target: the mIoU that the runs are `aiming_at`, or None.
        seconds: the wall time that they were `stopped_after`, or None.
    """
    curves = "Best and last value of each: losses at their lowest, scores at their highest, which need not be those of "
    curves += "one checkpoint. Training loss: mean of the 100 steps before a validation. A loss is the sum over heads, "
    curves += "in validation over those that predict: compare it among networks with as many of them."
    equal = "Of every run the scores with the highest mIoU within the wall time of the shortest run that has finished, "
    equal += f"{show_duration(seconds or 0)}; on a straight line between two validations. The others' learning rates "
    equal += "were still high then."
    tables = [
        ranking(rows),
        Table("Best and last", curves, *_cells(rows, _CURVES)),
        Table("At equal wall time", equal, *_cells(rows, _scores("equal"))),
        Table("Test split", "Scores of the best checkpoint.", *_cells(rows, _scores("test"))),
        _cost(rows, target),
        _settings(rows),
        _classes(rows),
        _runs(rows),
    ]
    return [table for table in tables if table.rows]


def ranking(rows: Sequence[Row]) -> Table:
    """Return the best checkpoints' scores."""
    note = (
        "Validation scores of the best checkpoint, which callbacks.monitor chose; training loss: mean of the 100 steps "
        "before it. Ranked by mIoU, runs that have finished only. Of several seeds: mean ± sample standard deviation."
    )
    columns = _scores("best")
    cells = []
    for place, row in enumerate(rows, 1):
        seeds = ", ".join(show_value(run.settings.get("seed", NONE)) for run in row.counted)
        known = [str(place) if row.finished else NONE, row.label, row.status, seeds]
        cells.append([*known, *(_cell(row, column) for column in columns)])
    return Table("Best checkpoints", note, ["#", "run", "status", "seeds", *(c.name for c in columns)], cells)


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


def _digits(digits: int, unit: float = 1.0) -> Callable[[float], str]:
    return lambda value: f"{value / unit:,.{digits}f}"


def _score(value: float) -> str:
    """Return three decimals, or of a loss that has gone astray its size."""
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.1e}"


def _scores(which: str) -> list[Column]:
    """Return the columns of the "best", "equal" or "test" scores."""
    columns = [
        Column("step", f"{which}.step", _digits(0)),
        Column("mIoU", f"{which}.miou", _score),
        Column("mean F1", f"{which}.mean_f1", _score),
        Column("pixel accuracy", f"{which}.pixel_accuracy", _score),
        Column("loss", f"{which}.loss", _score),
        Column("training loss", f"{which}.train_loss", _score),
    ]
    return columns[:-1] if which == "test" else columns


_CURVES = [
    Column(f"{name}, {when}", f"{which}.{figure}", _score)
    for name, figure in (
        ("training loss", "train_loss"), ("validation loss", "loss"), ("mIoU", "miou"), ("mean F1", "mean_f1")
    )
    for when, which in (("best", "top"), ("last", "last"))
]  # fmt: skip
_COST = [
    Column("parameters, M", "cost.parameters", _digits(2, 1e6)),
    Column("multiply-adds, G", "cost.multiply_adds", _digits(2, 1e9)),
    Column("images/s", "cost.images_per_second", _digits(1)),
    Column("peak memory, MiB", "cost.peak_memory", _digits(0)),
    Column("wall time", "seconds", show_duration),
]


def _cell(row: Row, column: Column) -> str:
    spread = row.spread(column.figure)
    return NONE if spread is None else spread.text(column.show)


def _cells(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows; no rows where all figures are unknown."""
    cells = [[row.label, *(_cell(row, column) for column in columns)] for row in rows]
    known = any(cell != NONE for _, *row in cells for cell in row)
    return ["run", *(column.name for column in columns)], cells if known else []


def _cost(rows: Sequence[Row], target: float | None) -> Table:
    columns = list(_COST)
    note = (
        "Multiply-adds of one training crop; images/s: median in training; peak memory of one process. Wall times, "
        "validation included, are those of the runs as they ran: other work on the machine lengthens them."
    )
    if target is not None:
        columns.append(Column(f"steps to mIoU {target:g}", "target.step", _digits(0)))
        columns.append(Column(f"time to mIoU {target:g}", "target.seconds", show_duration))
        note += f" The first validation with mIoU {target:g} or more counts; {NONE}: not reached, or not by every seed."
    return Table("Cost", note, *_cells(rows, columns))


def _settings(rows: Sequence[Row]) -> Table:
    runs = [run for row in rows for run in row.runs if run.settings]
    apart = differing(runs)
    columns = [[NONE if value is None else show_value(value) for value in values] for values in apart.values()]
    cells = [[run.name, *values] for run, *values in zip(runs, *columns, strict=True)] if apart else []
    note = f"{NONE}: null, or no such setting. Where a run logs, and how it loads its data, is left out."
    return Table("Settings that differ", note, ["folder or file", *apart], cells)


def _classes(rows: Sequence[Row]) -> Table:
    scored = [row for row in rows if row.spread("best.miou")]
    cells = [[name, *(_cell(row, Column(name, f"best.f1.{name}", _score)) for row in scored)] for name in CLASSES]
    note = "Validation scores of the best checkpoint."
    return Table("F1 by class", note, ["class", *(row.label for row in scored)], cells if scored else [])


def _runs(rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        for run in row.runs:
            miou, seconds = run.figures.get("best.miou"), run.figures.get("seconds")
            known = [run.name, row.label, show_value(run.settings.get("seed", NONE)), run.status_text]
            score, time = NONE if miou is None else f"{miou:.4f}", NONE if seconds is None else show_duration(seconds)
            cells.append([*known, score, time, run.error])
    note = "Pruned: stopped by a search. Unfinished: stopped otherwise before the end, or still running. "
    note += "Missing: not started, or no such folder."
    header = ["folder or file", "run", "seed", "status", "best mIoU", "wall time", "error of its last start"]
    return Table("Every run", note, header, cells)

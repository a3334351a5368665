"""The plots of a comparison: SVG for a page, which gives it its ink (readable on light and dark), or as a file."""

import math
import re
from collections.abc import Sequence
from io import StringIO
from statistics import fmean
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from facekp.compare.grouping import Row
from facekp.compare.reading import RunResult
from facekp.compare.table import CLASSES

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
"""Okabe and Ito's, told apart by the colour-blind; without black and yellow, which a dark or a light page swallows."""
STROKES = (("-", "o", ""), ("--", "s", "////"))
"""Line, marker and hatch of the first six rows, and of the next six."""
MOST = len(COLOURS) * len(STROKES)
"""Rows that a plot holds."""
INK = "#010203"  # becomes the page's text colour, so nothing else is drawn in it
ASTRAY = 50  # losses this much higher than others would press those flat, so the axis is logarithmic
METADATA = ("Creator", "Date", "Format", "Type")  # left out
CURVES = {"train_loss": "training loss", "loss": "validation loss", "miou": "mIoU", "mean_f1": "mean F1"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "facekp",  # the same runs give the same file
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


class Plot(NamedTuple):
    """A picture, its name in the names of files, and what it shows."""

    name: str
    title: str
    svg: str
    """An element of an HTML page; ids begin with `name`, text and axes are in the page's colour."""

    @property
    def file(self) -> str:
        """The picture as a file of its own: black on white, so that it can be read on a dark page too."""
        start, end, rest = self.svg.partition(">")
        return f'{start}{end}<rect width="100%" height="100%" fill="white"/>{rest.replace("currentColor", "black")}'


class Look(NamedTuple):
    """How a row is drawn in every plot."""

    colour: str
    line: str
    marker: str
    hatch: str


def draw_plots(rows: Sequence[Row]) -> list[Plot]:
    """Return the curves over steps and over wall time, and every class's F1.

    Args:
        rows: as `rank` gives them; the first `MOST` with a validation are drawn.
    """
    drawn = [row for row in rows if any(run.curve for run in row.runs)][:MOST]
    looks = [Look(COLOURS[i % len(COLOURS)], *STROKES[i // len(COLOURS)]) for i in range(len(drawn))]
    shown = list(zip(drawn, looks, strict=True))
    timed = [(row, look) for row, look in shown if any(run.timed for run in row.runs)]
    plots = []
    with mpl.rc_context(STYLE):
        if shown:
            plots.append(_plot("steps", "Curves over steps", _curves(shown, "step", "steps", 1)))
        if timed:
            plots.append(_plot("time", "Curves over wall time", _curves(timed, "seconds", *_unit(timed))))
        if shown:
            plots.append(_plot("classes", "F1 by class, best checkpoint", _bars(shown)))
    return plots


def _unit(rows: Sequence[tuple[Row, Look]]) -> tuple[str, float]:
    longest = max(run.curve[-1]["seconds"] for row, _ in rows for run in row.runs if run.timed)
    return ("hours", 3600) if longest > 7200 else ("minutes", 60) if longest > 120 else ("seconds", 1)


def _curves(rows: Sequence[tuple[Row, Look]], axis: str, unit: str, scale: float) -> Figure:
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for panel, (figure_name, title) in zip(panels.flat, CURVES.items(), strict=True):
        for row, look in rows:
            _draw_row(panel, row, look, axis, scale, figure_name)
        if not any(len(line.get_xdata()) for line in panel.lines):
            panel.text(0.5, 0.5, "not known", transform=panel.transAxes, ha="center")
            panel.set_yticks([])
        low, high = panel.dataLim.intervaly
        if "loss" in title and high > ASTRAY * low > 0:
            panel.set_yscale("log")
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.15, color=INK)
    for panel in panels[1]:
        panel.set_xlabel(unit)
        panel.set_xlim(left=0)
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=axis == "step"))
    _legend(figure, panels[1, 0])
    return figure


def _draw_row(panel: Axes, row: Row, look: Look, axis: str, scale: float, figure: str) -> None:
    """Draw the mean of a row's runs, each of several thinly, and a cross where one ends that has not finished."""
    for run in row.runs:
        x, y = _line(run, axis, scale, figure)
        if len(row.runs) > 1:
            panel.plot(x, y, color=look.colour, linewidth=0.8, alpha=0.6)
        if run.status != "finished":
            panel.plot(x[-1:], y[-1:], "x", color=look.colour, markersize=9, markeredgewidth=2)
    # Of steps at which all were validated: one that has not finished, or was resumed, may lack some.
    known = [{point["step"]: point for point in _points(run, axis, figure)} for run in row.counted]
    steps = [step for step in known[0] if all(step in points for points in known)]
    x, y = ([fmean(points[step][name] for points in known) for step in steps] for name in (axis, figure))
    x = [value / scale for value in x]
    panel.plot(x, y, look.line, color=look.colour, marker=look.marker, markersize=3.5, label=row.label)


def _line(run: RunResult, axis: str, scale: float, figure: str) -> tuple[list[float], list[float]]:
    points = _points(run, axis, figure)
    return [p[axis] / scale for p in points], [p[figure] for p in points]


def _points(run: RunResult, axis: str, figure: str) -> list[dict[str, Any]]:
    """Return the validations of which both are known."""
    return [p for p in run.curve if p.get(figure) is not None and p.get(axis) is not None]


def _bars(rows: Sequence[tuple[Row, Look]]) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panel = figure.subplots()
    width = 0.84 / len(rows)
    for place, (row, look) in enumerate(rows):
        spreads = [row.spread(f"best.f1.{name}") for name in CLASSES]
        x = [c + (place - (len(rows) - 1) / 2) * width for c in range(len(CLASSES))]
        y = [spread.mean if spread else math.nan for spread in spreads]  # an absent class has no bar
        bars = panel.bar(x, y, width * 0.92, color=look.colour, label=row.label)
        for bar in bars:
            bar.set(hatch=look.hatch, edgecolor=INK if look.hatch else look.colour, linewidth=0)
        if len(row.counted) > 1:
            error = [(spread.deviation or 0.0) if spread else 0.0 for spread in spreads]
            panel.errorbar(x, y, error, fmt="none", ecolor=INK, elinewidth=1)
    panel.set_xticks(range(len(CLASSES)), labels=list(CLASSES), rotation=40, ha="right")
    panel.set(ylabel="F1", ylim=(0, 1), xlim=(-0.6, len(CLASSES) - 0.4), axisbelow=True)
    panel.grid(axis="y", alpha=0.15, color=INK)
    _legend(figure, panel)
    return figure


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    columns = 3 if max(map(len, labels)) < 30 else 2 if max(map(len, labels)) < 45 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _plot(name: str, title: str, figure: Figure) -> Plot:
    file = StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(METADATA))
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return Plot(name, title, re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg))

"""Plots of a comparison as SVG: a file each, and a part of the page."""

import math
import re
from collections.abc import Sequence
from io import StringIO
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from facekp.compare.runs import CURVES, Run
from facekp.compare.tables import class_names, spreads

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
"""Okabe and Ito's colour-blind-safe colours, without black and yellow."""
STROKES = (("-", "o", ""), ("--", "s", "////"))  # line, marker and hatch of the first six rows, and of the next six
MAX_ROWS = len(COLOURS) * len(STROKES)  # maximum number of rows in a plot
ASTRAY = 50  # ratio of the highest to the lowest loss above which the axis is logarithmic
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "facekp",  # the same runs give the same file
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
Look = tuple[str, str, str, str]  # how a row is drawn in every plot: colour, line, marker and hatch


class Plot(NamedTuple):
    """A plot: its name in file names, its title, and its SVG, whose ids begin with `name`."""

    name: str
    title: str
    svg: str


def draw_plots(runs: Sequence[Run], table: pd.DataFrame) -> list[Plot]:
    """Return the curves over steps and over wall time, and every class's F1, of up to `MAX_ROWS` rows with curves."""
    drawn = table[[len(runs[i].curve) > 0 for i in table.index]]
    looks = {
        row: (COLOURS[i % len(COLOURS)], *STROKES[i // len(COLOURS)])
        for i, row in enumerate(drawn["row"].unique()[:MAX_ROWS])
    }
    drawn = drawn[drawn["row"].isin(looks)]
    if drawn.empty:
        return []
    curves = [
        runs[i].curve.assign(run=i, seconds=runs[i].curve["seconds"] if runs[i].timed else math.nan)
        for i in drawn.index
    ]
    of = table.groupby("row")["counted"].agg(runs="size", counted_runs="sum")
    points = pd.concat(curves).join(drawn[["row", "counted", "finished"]], on="run").join(of, on="row")
    longest = points["seconds"].max()
    unit, scale = ("hours", 3600) if longest > 7200 else ("minutes", 60) if longest > 120 else ("seconds", 1)
    points["time"] = points["seconds"] / scale
    timed = points[points["time"].notna()]
    with mpl.rc_context(STYLE):
        plots = [_plot("steps", "Curves over steps", _curves(points, looks, "step", "steps"))]
        if len(timed):
            plots.append(_plot("time", "Curves over wall time", _curves(timed, looks, "time", unit)))
        return [*plots, _plot("classes", "F1 by class, best checkpoint", _bars(drawn, looks))]


def _curves(points: pd.DataFrame, looks: dict[str, Look], axis: str, unit: str) -> Figure:
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for panel, (name, title) in zip(panels.flat, CURVES.items(), strict=True):
        known = points.dropna(subset=[name]) if name in points else points[0:0]
        for row, own in known.groupby("row", sort=False):
            _draw_row(panel, own, row, looks[row], axis, name)
        if known.empty:
            panel.text(0.5, 0.5, "not known", transform=panel.transAxes, ha="center")
            panel.set_yticks([])
        low, high = panel.dataLim.intervaly
        if "loss" in title and high > ASTRAY * low > 0:
            panel.set_yscale("log")
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.15, color="black")
    for panel in panels[1]:
        panel.set_xlabel(unit)
        panel.set_xlim(left=0)
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=axis == "step"))
    _legend(figure, panels[1, 0])
    return figure


def _draw_row(panel: Axes, points: pd.DataFrame, label: str, look: Look, axis: str, name: str) -> None:
    """Draw the mean of a row's runs, each run as a thin line if several, and a cross where an unfinished one ends."""
    colour, line, marker, _ = look
    for _, run in points.groupby("run", sort=False):
        if run["runs"].iloc[0] > 1:
            panel.plot(run[axis], run[name], color=colour, linewidth=0.8, alpha=0.6)
        if not run["finished"].iloc[0]:
            end = run.iloc[-1:]
            panel.plot(end[axis], end[name], "x", color=colour, markersize=9, markeredgewidth=2)
    # Only steps at which all runs were validated: an unfinished or resumed run may lack some.
    at_step = points[points["counted"]].groupby("step", as_index=False)
    mean = at_step.agg(x=(axis, "mean"), y=(name, "mean"), own=("run", "nunique"), of=("counted_runs", "first"))
    mean = mean[mean["own"] == mean["of"]]
    panel.plot(mean["x"], mean["y"], line, color=colour, marker=marker, markersize=3.5, label=label)


def _bars(table: pd.DataFrame, looks: dict[str, Look]) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panel = figure.subplots()
    width = 0.84 / len(looks)
    classes = class_names(table)
    f1 = pd.concat({name: spreads(table, f"best.f1.{name}") for name in classes})
    for place, (row, (colour, _, _, hatch)) in enumerate(looks.items()):
        own = f1.xs(row, level=1)
        x = [c + (place - (len(looks) - 1) / 2) * width for c in range(len(classes))]
        # An absent class has no bar.
        panel.bar(x, own["mean"], width * 0.92, color=colour, label=row, hatch=hatch, edgecolor="black", linewidth=0)
        if own["count"].max() > 1:
            panel.errorbar(x, own["mean"], own["std"], fmt="none", ecolor="black", elinewidth=1)
    panel.set_xticks(range(len(classes)), labels=classes, rotation=40, ha="right")
    panel.set(ylabel="F1", ylim=(0, 1), xlim=(-0.6, len(classes) - 0.4), axisbelow=True)
    panel.grid(axis="y", alpha=0.15, color="black")
    _legend(figure, panel)
    return figure


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    columns = 3 if max(map(len, labels)) < 30 else 2 if max(map(len, labels)) < 45 else 1
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _plot(name: str, title: str, figure: Figure) -> Plot:
    file = StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()
    return Plot(name, title, re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg[svg.index("<svg") :]))

"""The picture of `scaling.json`."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

AXES = {
    "batch": "images in a batch, at {size} pixels",
    "size": "side of an image in pixels, {batch} at a time",
    "faces": "faces found in a photo of {photo} pixels, each at {size}",
}
"""Labels of the sweeps' axes; what they name in braces is the same at all points."""
KINDS = (".png", ".svg", ".pdf")
"""How the picture's name may end."""
COLOURS = {"training step": "tab:blue", "prediction": "tab:orange"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw time and memory against batch, size and faces, six panels with logarithmic axes.

    Args:
        results: the content of `scaling.json`.
        path: the picture to write, of one of `KINDS`.
    """
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    panels = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for column, axis in enumerate(AXES):
        for row, (key, unit) in enumerate((("seconds", "seconds a call"), ("memory", "extra peak memory, MiB"))):
            _draw_panel(panels[row, column], results["points"], axis, key)
            panels[row, 0].set_ylabel(unit)
    lines, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=2)
    figure.suptitle(f"resnet18 in {results['dtype']}, threads: {results['threads']}\n{results['machine']}", fontsize=10)
    figure.savefig(path, dpi=110)


def _draw_panel(panel: Any, points: list[dict[str, Any]], axis: str, key: str) -> None:
    swept = [p for p in points if p["sweep"] == axis]
    points = [p for p in swept if not p["skipped"]]
    for task, colour in COLOURS.items():
        line = [p for p in points if p["task"] == task]
        at = [p[axis] for p in line]
        panel.plot(at, [p[key] for p in line], "o-", color=colour, label=task)
        if key == "seconds":
            panel.plot(at, [p["limit"] for p in line], "--", color=colour, label=f"{task}, limit of the convolutions")
    panel.set(xscale="log", yscale="log")
    ticks = sorted({p[axis] for p in points})
    panel.set_xticks(ticks, labels=map(str, ticks))
    panel.set_xticks([], minor=True)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.grid(alpha=0.3)
    panel.set_xlabel(AXES[axis].format(**swept[0]))

"""`comparison.html`, `comparison.md`, `comparison.csv`, and a `comparison-*.svg` for every plot."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from facekp import __version__
from facekp.compare.grouping import Row, differing, rank
from facekp.compare.plots import MOST, Plot, draw_plots
from facekp.compare.reading import read_runs
from facekp.compare.table import Table, build_tables
from facekp.compare.verdict import cautions, default_target, judge, shared_time
from facekp.files import make_folder, replacing

NAME = "comparison"
TEMPLATE = "report.html.j2"


class Page(NamedTuple):
    """What the page and the Markdown file say."""

    title: str
    verdict: Sequence[str]
    cautions: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot]
    plot_note: str


def compare(paths: Sequence[Path], out: Path, target: float | None = None) -> str:
    """Compare runs, write the files, and return the ranking and where they are, as text to print.

    Args:
        paths: run folders, folders with run folders in them, or `metrics.json` files.
        out: the folder to write to.
        target: mIoU whose time is given; None: the highest that all finished runs reached, rounded down to 0.05.

    Raises:
        DataError: no run in `paths`, a file that is no summary of a run, or a folder that cannot be written.
    """
    runs = read_runs(paths)
    target = default_target(runs) if target is None else target
    seconds = shared_time(runs)
    rows = rank([run.aiming_at(target).stopped_after(seconds) for run in runs])
    tables, verdict = build_tables(rows, target, seconds), judge(rows, seconds)
    page = Page(_title(rows), verdict, cautions(runs), tables, draw_plots(rows), _plot_note(rows))
    files = {f"{NAME}.html": _html(page), f"{NAME}.md": _markdown(page), f"{NAME}.csv": _sheet(rows)}
    files |= {_plot_file(plot): plot.file for plot in page.plots}
    make_folder(out)
    for name, text in files.items():
        with replacing(out / name) as part:
            part.write_text(text, encoding="utf-8")
    return "\n".join([tables[0].text("simple"), *verdict, f"comparison: {out / NAME}.html"])


def _title(rows: Sequence[Row]) -> str:
    runs = sum(len(row.runs) for row in rows)
    seeds = f" in {len(rows)} rows" if len(rows) < runs else ""
    return f"Comparison of {runs} run{'s' if runs > 1 else ''}{seeds}"


def _plot_note(rows: Sequence[Row]) -> str:
    note = "One point a validation; training loss: mean of the 100 steps before it. Thick: the mean of "
    note += "a row's seeds; thin: each. A cross ends a run that has not finished."
    if len(rows) > MOST:
        note += f" Of {len(rows)} rows the first {MOST} with a validation are drawn."
    return note


def _plot_file(plot: Plot) -> str:
    return f"{NAME}-{plot.name}.svg"


def _html(page: Page) -> str:
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return pages.get_template(TEMPLATE).render(page._asdict(), version=__version__)


def _markdown(page: Page) -> str:
    said = [f"# {page.title}", *page.verdict, *(f"> {sentence}" for sentence in page.cautions)]
    said += [f"## {table.title}\n\n{table.note}\n\n{table.text('github')}" for table in page.tables]
    if page.plots:
        said += ["## Plots", page.plot_note, *(f"![{plot.title}]({_plot_file(plot)})" for plot in page.plots)]
    return "\n\n".join(said) + "\n"


def _sheet(rows: Sequence[Row]) -> str:
    """Return a line for every run with all that is known of it, in full precision; a cell is empty where nothing is."""
    runs = [(row, run) for row in rows for run in row.runs]
    apart = differing([run for _, run in runs])
    lines = []
    for i, (row, run) in enumerate(runs):
        known = {"row": row.label, "run": run.name, "path": run.path, "status": run.status, "error": run.error}
        done = {"steps": run.steps, "machine": run.machine, "precision": run.precision}
        settings = {name: _plain(values[i]) for name, values in apart.items()}
        lines.append(known | {"seed": run.settings.get("seed")} | done | settings | run.figures)
    file = StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, list) else value

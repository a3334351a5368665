"""`comparison.html`, `comparison.md`, `comparison.csv`, and a `comparison-*.svg` for every plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from facekp import __version__
from facekp.compare.plots import MAX_ROWS, Plot, draw_plots
from facekp.compare.rows import differing, tabulate_runs
from facekp.compare.runs import Run, read_runs
from facekp.compare.tables import Table, build_tables
from facekp.compare.verdict import cautions, default_target, judge, shared_time
from facekp.files import make_folder, replacing

NAME = "comparison"
TEMPLATE = "report.html.j2"
FIGURES = {"best", "last", "top", "test", "cost", "seconds", "target", "equal"}
"""First parts of the names of figures."""


class Page(NamedTuple):
    """Content of the page and of the Markdown file."""

    title: str
    verdict: Sequence[str]
    cautions: Sequence[str]
    tables: Sequence[Table]
    plots: Sequence[Plot]
    plot_note: str


def compare(paths: Sequence[Path], out: Path, target: float | None = None) -> str:
    """Compare runs, write the files, and return the ranking and the path of the page, as text to print.

    Args:
        paths: run folders, folders with run folders in them, or `metrics.json` files.
        out: the folder to write to.
        target: mIoU to report the time to; None takes the highest that all finished runs reached, rounded
            down to 0.05.

    Raises:
        DataError: no run in `paths`, a file that is no summary of a run, or a folder that cannot be written.
    """
    runs = read_runs(paths)
    target = default_target(runs) if target is None else target
    seconds = shared_time(runs)
    table = tabulate_runs(runs, target, seconds)
    tables, verdict = build_tables(runs, table, target, seconds), judge(table, seconds)
    page = Page(_title(table), verdict, cautions(runs), tables, draw_plots(runs, table), _plot_note(table))
    files = {f"{NAME}.html": _html(page), f"{NAME}.md": _markdown(page), f"{NAME}.csv": _sheet(runs, table)}
    files |= {_plot_file(plot): plot.file for plot in page.plots}
    make_folder(out)
    for name, text in files.items():
        with replacing(out / name) as part:
            part.write_text(text, encoding="utf-8")
    return "\n".join([tables[0].text("simple"), *verdict, f"comparison: {out / NAME}.html"])


def _title(table: pd.DataFrame) -> str:
    runs, rows = len(table), table["row"].nunique()
    return f"Comparison of {runs} run{'s' if runs > 1 else ''}{f' in {rows} rows' if rows < runs else ''}"


def _plot_note(table: pd.DataFrame) -> str:
    note = (
        "One point per validation; training loss: mean of the 100 steps before it. Thick lines: mean over seeds; "
        "thin lines: single runs. A cross ends a run that has not finished."
    )
    rows = table["row"].nunique()
    return note + (f" Of {rows} rows the first {MAX_ROWS} with a validation are drawn." if rows > MAX_ROWS else "")


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


def _sheet(runs: Sequence[Run], table: pd.DataFrame) -> str:
    """Return CSV with one line per run and every known figure in full precision."""
    apart = differing(runs).reindex(table.index)
    figures = [name for name in table if name.partition(".")[0] in FIGURES]
    columns = ["row", "run", "path", "status", "error", "steps", "machine", "precision", "seed"]
    sheet = pd.concat([table[columns], apart.drop(columns="seed", errors="ignore"), table[figures]], axis=1)
    return str(sheet.astype({"seed": "Int64"}).to_csv(index=False, lineterminator="\n"))

"""Files of a comparison: `comparison.html`, `.md` and `.csv`, and a `comparison-*.svg` for every plot."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Template

from facekp import __version__
from facekp.compare.plots import MAX_ROWS, draw_plots
from facekp.compare.rows import differing, tabulate_runs
from facekp.compare.runs import Run, read_runs
from facekp.compare.tables import build_tables
from facekp.compare.verdict import cautions, default_target, judge, shared_time
from facekp.files import as_cell, begins_with, keep_foreign, make_folder, write_file

NAME = "comparison"
KNOWN = ["row", "run", "path", "status", "error", "steps", "machine", "precision", "seed"]
"""The first columns of the CSV file."""
MARKS = {
    ".html": rb"<!doctype html>.{,300}<title>Comparison of \d+ run",
    ".md": rb"# Comparison of \d+ run",
    ".csv": ",".join(KNOWN).encode(),
    ".svg": rb'<svg .{,999}<g id="[\w-]+-figure_1"',
}
"""Regular expressions for the first bytes of the files, by suffix."""
PLOT_NOTE = (
    "One point per validation; training loss: mean of the 100 steps before it. Thick lines: mean over seeds; thin "
    "lines: single runs. A cross marks the end of an unfinished run."
)
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # characters that XML, and so a plot, cannot hold
PAGE = Path(__file__).with_name("report.html.j2")


def compare(paths: Sequence[Path], out: Path, target: float | None = None, *, overwrite: bool = False) -> str:
    """Compare the runs in `paths` (see `read_runs`), write the files into `out`, and return the ranking to print.

    `target` is the mIoU to report the time to; None takes the highest that all finished runs reached, in steps of 0.05.
    `overwrite` replaces files of the same names that are not a comparison's.

    Raises:
        DataError: no run in `paths`, a file that is no summary of a run, or a folder that cannot be written.
    """
    runs = read_runs(paths)
    target = default_target(runs) if target is None else target
    seconds = shared_time(runs)
    table = tabulate_runs(runs, target, seconds)
    rows, verdict = table["row"].nunique(), judge(table, seconds)
    more = f" Of {rows} rows, the first {MAX_ROWS} with a validation are drawn." if rows > MAX_ROWS else ""
    page: dict[str, Any] = {
        "title": f"Comparison of {len(runs)} run{'s' * (len(runs) > 1)}{f' in {rows} rows' * (rows < len(runs))}",
        "verdict": verdict,
        "cautions": cautions(runs),
        "tables": build_tables(runs, table, target, seconds),
        "plots": draw_plots(runs, table),
        "plot_note": PLOT_NOTE + more,
    }
    files = {f"{NAME}-{plot.name}.svg": plot.svg for plot in page["plots"]}
    template = Template(PAGE.read_text(encoding="utf-8"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    files[f"{NAME}.html"] = template.render(page, version=__version__)
    files |= {f"{NAME}.md": _markdown(**page), f"{NAME}.csv": _sheet(runs, table)}
    keep_foreign({out / name: begins_with(MARKS[Path(name).suffix]) for name in files}, overwrite=overwrite)
    make_folder(out)
    for name, text in files.items():
        write_file(out / name, CONTROLS.sub("\ufffd", text))  # of a run's name
    return "\n".join([page["tables"][0].text("simple"), *verdict, f"comparison: {out / NAME}.html"])


def _markdown(title: str, verdict: Any, cautions: Any, tables: Any, plots: Any, plot_note: str) -> str:
    said = [f"# {title}", *verdict, *(f"> {sentence}" for sentence in cautions)]
    said += [f"## {table.title}\n\n{table.note}\n\n{table.text('github')}" for table in tables]
    if plots:
        said += ["## Plots", plot_note, *(f"![{plot.title}]({NAME}-{plot.name}.svg)" for plot in plots)]
    return "\n\n".join(said) + "\n"


def _sheet(runs: Sequence[Run], table: pd.DataFrame) -> str:
    """Return CSV with one line per run and every known figure in full precision."""
    known = table[KNOWN]
    apart = differing(runs).reindex(table.index).drop(columns="seed", errors="ignore")
    figures = table[[name for name in table if "." in name or name == "seconds"]]
    sheet = pd.concat([known, apart, figures], axis=1)
    sheet = sheet.astype({"seed": "Int64"}).map(lambda cell: as_cell(cell) if isinstance(cell, str) else cell)
    return str(sheet.to_csv(index=False, lineterminator="\n"))

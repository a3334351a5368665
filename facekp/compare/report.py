"""`comparison.html`, `comparison.md` and `comparison.csv`."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from facekp import __version__
from facekp.compare.grouping import Row, differing, rank
from facekp.compare.plots import MOST, draw_plots
from facekp.compare.reading import read_runs
from facekp.compare.table import Table, build_tables
from facekp.compare.verdict import cautions, default_target, judge, shared_time
from facekp.folder import make_folder, replacing

NAME = "comparison"
TEMPLATE = "report.html.j2"


def compare(paths: Sequence[Path], out: Path, target: float | None = None) -> str:
    """Compare runs, write the three files, and return the ranking and where they are, as text to print.

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
    tables, verdict, warnings = build_tables(rows, target, seconds), judge(rows, seconds), cautions(runs)
    make_folder(out)
    pages = {
        "html": _page(rows, tables, verdict, warnings),
        "md": _markdown(rows, tables, verdict, warnings),
        "csv": _sheet(rows),
    }
    for kind, text in pages.items():
        with replacing(out / f"{NAME}.{kind}") as part:
            part.write_text(text, encoding="utf-8")
    return "\n".join([tables[0].text("simple"), *verdict, f"comparison: {out / NAME}.html"])


def _title(rows: Sequence[Row]) -> str:
    runs = sum(len(row.runs) for row in rows)
    seeds = f" in {len(rows)} rows" if len(rows) < runs else ""
    return f"Comparison of {runs} run{'s' if runs > 1 else ''}{seeds}"


def _page(rows: Sequence[Row], tables: Sequence[Table], verdict: Sequence[str], warnings: Sequence[str]) -> str:
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    note = "One point a validation; training loss: mean of the 100 steps before it. Thick: the mean of "
    note += "a row's seeds; thin: each. A cross ends a run that has not finished."
    if len(rows) > MOST:
        note += f" Of {len(rows)} rows the first {MOST} with a validation are drawn."
    return pages.get_template(TEMPLATE).render(
        title=_title(rows),
        verdict=verdict,
        cautions=warnings,
        tables=tables,
        plots=draw_plots(rows),
        plot_note=note,
        version=__version__,
    )


def _markdown(rows: Sequence[Row], tables: Sequence[Table], verdict: Sequence[str], warnings: Sequence[str]) -> str:
    said = [f"# {_title(rows)}", *verdict, *(f"> {sentence}" for sentence in warnings)]
    shown = [f"## {table.title}\n\n{table.note}\n\n{table.text('github')}" for table in tables]
    return "\n\n".join([*said, *shown]) + "\n"


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

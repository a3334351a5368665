"""`comparison.html`, `comparison.md` and `comparison.csv`."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from facekp import __version__
from facekp.compare.grouping import Row, rank
from facekp.compare.plots import MOST, draw_plots
from facekp.compare.reading import read_runs
from facekp.compare.sheet import write_csv
from facekp.compare.table import Table, build_tables
from facekp.compare.verdict import cautions, default_target, judge
from facekp.folder import make_folder, replacing

NAME = "comparison"
TEMPLATE = "report.html.j2"


def compare(paths: Sequence[Path], out: Path, target: float | None = None) -> str:
    """Compare runs, write the three files, and return the ranking and where they are, as text to print.

    Args:
        paths: run folders, folders of sweeps, or `metrics.json` files.
        out: the folder to write to.
        target: mIoU whose time is given; None: the highest that all finished runs reached, rounded down to 0.05.

    Raises:
        DataError: no run in `paths`, a file that is no summary of a run, or a folder that cannot be written.
    """
    runs = read_runs(paths)
    target = default_target(runs) if target is None else target
    rows = rank([run.aiming_at(target) for run in runs])
    tables, warnings = build_tables(rows, target), cautions(runs)
    make_folder(out)
    pages = {
        "html": _page(rows, tables, warnings),
        "md": _markdown(rows, tables, warnings),
        "csv": write_csv(rows),
    }
    for kind, text in pages.items():
        with replacing(out / f"{NAME}.{kind}") as part:
            part.write_text(text, encoding="utf-8")
    return "\n".join([tables[0].text("simple"), *judge(rows), f"comparison: {out / NAME}.html"])


def _title(rows: Sequence[Row]) -> str:
    runs = sum(len(row.runs) for row in rows)
    seeds = f" in {len(rows)} rows" if len(rows) < runs else ""
    return f"Comparison of {runs} run{'s' if runs > 1 else ''}{seeds}"


def _page(rows: Sequence[Row], tables: Sequence[Table], warnings: Sequence[str]) -> str:
    folder = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    note = "One point a validation; training loss: mean of the 100 steps before it. Seeds of a row look the same. "
    note += "A cross ends a run that has not finished."
    if len(rows) > MOST:
        note += f" Of {len(rows)} rows the first {MOST} with a validation are drawn."
    return pages.get_template(TEMPLATE).render(
        title=_title(rows),
        verdict=judge(rows),
        cautions=warnings,
        tables=tables,
        plots=draw_plots(rows),
        plot_note=note,
        version=__version__,
    )


def _markdown(rows: Sequence[Row], tables: Sequence[Table], warnings: Sequence[str]) -> str:
    said = [f"# {_title(rows)}", *judge(rows), *(f"> {sentence}" for sentence in warnings)]
    shown = [f"## {table.title}\n\n{table.note}\n\n{table.text('github')}" for table in tables]
    return "\n\n".join([*said, *shown]) + "\n"

"""`comparison.csv`: one line a run."""

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from facekp.compare.grouping import Row, differing, show_value
from facekp.compare.reading import RunResult


def write_csv(rows: Sequence[Row]) -> str:
    """Return a line for every run with all that is known of it, in full precision; a cell is empty where nothing is.

    Args:
        rows: as `rank` gives them.
    """
    runs = [(row, run) for row in rows for run in row.runs]
    apart = differing([run for _, run in runs])
    lines = []
    for i, (row, run) in enumerate(runs):
        settings = {name: show_value(values[i]) for name, values in apart.items() if values[i] is not None}
        lines.append({"row": row.label, **_identity(run), **settings, **run.figures})
    file = StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _identity(run: RunResult) -> dict[str, Any]:
    return {
        "run": run.name,
        "path": run.path,
        "status": run.status,
        "error": run.error,
        "seed": run.settings.get("seed"),
        "steps": run.steps,
        "max_steps": run.settings.get("trainer.max_steps"),
        "machine": run.machine,
        "precision": run.precision,
    }

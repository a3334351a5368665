"""Which training images a table leaves out: audit.csv, or any with the columns id and exclude."""

import csv
import hashlib
from pathlib import Path
from typing import Final

from facekp.errors import DataError
from facekp.files import expand

COLUMN: Final = "exclude"
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


def read_exclusions(path: Path) -> frozenset[str]:
    """Return the ids of the rows whose `exclude` is yes, of audit.csv or of any table with the columns id and exclude.

    Raises:
        DataError: the file is missing, no such table, or says neither yes nor no.
    """
    ids = set()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = {"id", COLUMN} - set(rows.fieldnames or ())
            if missing:
                raise DataError(
                    f"data.exclude is '{path}', a table without the column {' and '.join(sorted(missing))}: "
                    "give the audit.csv of python -m facekp.data.audit"
                )
            for row in rows:
                verdict = (row[COLUMN] or "").strip().lower()
                if verdict not in (*_YES, *_NO):
                    raise DataError(f"{path}, line {rows.line_num}: exclude is '{row[COLUMN]}', need yes or no")
                if verdict in _YES:
                    if not (row["id"] or "").strip():
                        raise DataError(f"{path}, line {rows.line_num}: no id, need one")
                    ids.add(row["id"].strip())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"data.exclude is '{path}', which cannot be read ({reason}): give the audit.csv of "
            "python -m facekp.data.audit, or null"
        ) from error
    return frozenset(ids)


def describe_exclusions(ids: frozenset[str]) -> str:
    """Say how many images are left out, and which, as a short digest: two tables that leave out the same are equal."""
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:8]
    return f"{len(ids)} images ({digest})"


def excluded_digest(exclude: str | None) -> str | None:
    """Describe the images that `data.exclude` leaves out; None if there are none.

    Raises:
        DataError: as for `read_exclusions`.
    """
    ids = read_exclusions(expand(exclude)) if exclude else None
    return describe_exclusions(ids) if ids else None

"""Exclusion of training images by a table: audit.csv, or any CSV with the columns id and exclude."""

import csv
import hashlib
import re
from typing import Final

from facekp.errors import DataError
from facekp.files import expand

COLUMN: Final = "exclude"
VERDICTS: Final = dict.fromkeys(("yes", "true", "1"), True) | dict.fromkeys(("no", "false", "0", ""), False)


def read_exclusions(exclude: str | None) -> frozenset[str]:
    """Return the ids of a table's rows whose `exclude` is yes; for None, an empty set.

    Raises:
        DataError: the file is missing, lacks a column, or has a row whose `exclude` is neither yes nor no.
    """
    if not exclude:
        return frozenset()
    ids, path = set(), expand(exclude)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = {"id", COLUMN} - set(rows.fieldnames or ())
            if missing:
                raise DataError(
                    f"data.exclude is '{path}', a table without the column {' and '.join(sorted(missing))}: "
                    "give the audit.csv of facekp audit"
                )
            for row in rows:
                verdict = VERDICTS.get((row[COLUMN] or "").strip().lower())
                if verdict is None:
                    raise DataError(f"{path}, line {rows.line_num}: exclude is '{row[COLUMN]}', need yes or no")
                if verdict and not (row["id"] or "").strip():
                    raise DataError(f"{path}, line {rows.line_num}: no id, need one")
                if verdict:
                    ids.add(re.sub(r"^'(?=[=+@-])", "", row["id"].strip()))  # see `as_cell`
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"data.exclude is '{path}', which cannot be read ({reason}): give the audit.csv of facekp audit, or null"
        ) from error
    return frozenset(ids)


def describe_exclusions(ids: frozenset[str]) -> str | None:
    """Return the number of excluded images and a digest; tables that exclude the same images give the same text."""
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:8]
    return f"{len(ids)} images ({digest})" if ids else None


def excluded_digest(exclude: str | None) -> str | None:
    """Describe the images that `data.exclude` excludes, as `describe_exclusions` does.

    Raises:
        DataError: see `read_exclusions`.
    """
    return describe_exclusions(read_exclusions(exclude))

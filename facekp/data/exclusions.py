"""Exclusion of training images by a table: audit.csv, or any CSV with the columns id and exclude."""

import csv
import hashlib
import re
from typing import Final

from facekp.errors import DataError
from facekp.files import expand

VERDICTS: Final = dict.fromkeys(("yes", "true", "1"), True) | dict.fromkeys(("no", "false", "0", ""), False)


def read_exclusions(exclude: str | None) -> frozenset[str]:
    """Return the ids of a table's rows whose `exclude` is yes; for None, an empty set.

    Raises:
        DataError: the file is missing, lacks a column, or has a row whose `exclude` is neither yes nor no.
    """
    if not exclude:
        return frozenset()
    ids, path, remedy = set[str](), expand(exclude), "give the audit.csv of facekp audit"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := sorted({"id", "exclude"} - set(rows.fieldnames or ())):
                table = f"a table without the column {' and '.join(missing)}"
                raise DataError(f"data.exclude is '{path}', {table}: {remedy}")
            for row in rows:
                name, verdict = ((row[column] or "").strip() for column in ("id", "exclude"))
                if verdict.lower() not in VERDICTS:
                    raise DataError(f"{path}, line {rows.line_num}: exclude is '{verdict}', need yes or no")
                if VERDICTS[verdict.lower()]:
                    if not name:
                        raise DataError(f"{path}, line {rows.line_num}: no id, need one")
                    ids.add(re.sub(r"^'(?=[=+@-])", "", name))  # see `as_cell`
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"data.exclude is '{path}', which cannot be read ({reason}): {remedy}, or null") from error
    return frozenset(ids)


def describe_exclusions(ids: frozenset[str]) -> str | None:
    """Return the number of excluded images and a digest; tables that exclude the same images give the same text."""
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:8]
    return f"{len(ids)} images ({digest})" if ids else None


def excluded_digest(exclude: str | None) -> str | None:
    """Describe the images that `data.exclude` excludes; see `read_exclusions`."""
    return describe_exclusions(read_exclusions(exclude))

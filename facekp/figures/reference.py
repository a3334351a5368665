"""A landmark detector's points of one photo, from a file."""

import csv
import json
from pathlib import Path

import numpy as np

from facekp.errors import DataError
from facekp.keypoints.curves import Points

FORMATS = "CSV with a row `id,x0,y0,x1,y1,...` a photo, CSV with a row `x,y` a point, or JSON [[x, y], ...]"


def read_landmarks(path: str | Path, photo: str | Path) -> Points:
    """Read the points of one photo.

    Args:
        path: a table with a header `id,x0,y0,x1,y1,...` and one row a photo, a CSV of `x,y` rows (a header is
            optional), or a JSON list of [x, y].
        photo: its name without folder and suffix is looked for in a table's column `id`.

    Returns:
        (n, 2) float32, x then y, in pixels of the picture that the detector saw.

    Raises:
        DataError: a file that cannot be read or is none of these, or a table without the photo.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            return _points(json.loads(text))
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if rows and rows[0][0].strip().lower() == "id":
            return _points(np.reshape(_row(rows[1:], path, Path(photo).stem), (-1, 2)))
        return _points(rows[1:] if rows and rows[0][0].strip().lower() == "x" else rows)
    except OSError as error:
        raise DataError(f"landmarks '{path}': cannot be read ({error.strerror}); check the path") from error
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"landmarks '{path}': holds no points ({error}); give {FORMATS}") from error


def _row(rows: list[list[str]], path: Path, name: str) -> list[str]:
    """Return the coordinates of a photo; as numbers, 22 and 00022 are one name."""
    for row in rows:
        if row[0] == name or (row[0].isdecimal() and name.isdecimal() and int(row[0]) == int(name)):
            return row[1:]
    raise DataError(
        f"landmarks '{path}': no row for the photo '{name}' (its {len(rows)} rows begin with "
        f"'{rows[0][0] if rows else ''}'); add one, or leave landmarks= out"
    )


def _points(values: object) -> Points:
    points = np.asarray(values, np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"an array of shape {points.shape}, or with values that are no numbers")
    return points

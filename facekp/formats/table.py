"""CSV: one table of all key points of a run, `keypoints.csv`, for spreadsheets and pandas."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from facekp.formats.base import Photo, RunFormat, as_text
from facekp.keypoints.curves import rounded
from facekp.parsing.face import Face

COLUMNS: Final = ("file", "face", "attribute", "kind", "index", "x", "y", "confidence")


def _piece(photo: Photo, faces: Sequence[Face]) -> bytes:
    """Return a photo's rows, one a key point."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for number, face in enumerate(faces):
        for name, attribute in face.attributes.items():
            start = as_text(photo.file), number, name, "keypoint"
            confidence = round(attribute.confidence, 4)
            points = rounded(attribute.keypoints).tolist()
            rows.writerows((*start, index, x, y, confidence) for index, (x, y) in enumerate(points))
    return text.getvalue().encode()


def _join(pieces: Callable[[], Iterator[bytes]], path: Path) -> None:
    with path.open("wb") as table:
        table.write((",".join(COLUMNS) + "\n").encode())
        table.writelines(pieces())


CSV: Final = RunFormat("keypoints.csv", _piece, _join)

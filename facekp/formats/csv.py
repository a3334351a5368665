"""CSV: one table of all key points of a run, for spreadsheets and pandas."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from facekp.files import as_cell
from facekp.formats.base import FORMATS, Photo, RunFormat, as_text
from facekp.keypoints.curves import rounded
from facekp.parsing.face import Face

COLUMNS: Final = ("file", "face", "attribute", "kind", "index", "x", "y", "confidence")


@FORMATS.register("csv")
class Csv(RunFormat):
    """A table with one row per key point."""

    file = "keypoints.csv"
    help = "one table of all key points"
    mark = ",".join(COLUMNS).encode() + rb"\n"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the photo's rows."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for number, face in enumerate(faces):
            for name, attribute in face.attributes.items():
                start = as_cell(as_text(photo.file)), number, name, "keypoint"
                confidence = round(attribute.confidence, 4)
                points = rounded(attribute.keypoints).tolist()
                rows.writerows((*start, index, x, y, confidence) for index, (x, y) in enumerate(points))
        return text.getvalue().encode()

    def join(self, pieces: Sequence[Path], out: BinaryIO) -> None:
        """Write the header and all rows."""
        out.write((",".join(COLUMNS) + "\n").encode())
        out.writelines(piece.read_bytes() for piece in pieces)

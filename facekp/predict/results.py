"""The results of a run: every photo's files as soon as it is parsed, and at the end the files of all photos."""

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from facekp.files import make_folder, replacing, writing
from facekp.formats import PHOTO_FORMATS, RUN_FORMATS, Photo
from facekp.parsing.face import Face

PIECES: Final = ".pieces"
"""Folder, in that of the results, of what the photos add to the files of all photos."""


class Results:
    """Write faces in the formats that were asked for; several threads and processes may do so at a time.

    Args:
        out: folder of the results.
        export: names of `PHOTO_FORMATS` and `RUN_FORMATS`.

    Raises:
        DataError: the folder cannot be written.
    """

    def __init__(self, out: Path, export: Sequence[str]) -> None:
        self.out = make_folder(out)
        self.pieces = out / PIECES
        # Several processes come by here, but none writes before all have.
        shutil.rmtree(self.pieces, ignore_errors=True)
        self.photo_formats = [write for name, write in PHOTO_FORMATS.items() if name in export]
        self.run_formats = [form for name, form in RUN_FORMATS.items() if name in export]

    def write(self, photo: Photo, faces: Sequence[Face]) -> None:
        """Write one photo's faces, in order; none is fine."""
        for form in self.run_formats:
            with writing(self.pieces):
                self.pieces.mkdir(exist_ok=True)
            with replacing(self._piece(photo.stem, form.name)) as part:
                part.write_bytes(form.piece(photo, faces))
        for write in self.photo_formats:
            write(photo, faces)

    def finish(self, stems: Sequence[Path]) -> None:
        """Write the files of all photos that were written, in the order of `stems`; call it once, in one process."""
        for form in self.run_formats:
            pieces = [path for stem in stems if (path := self._piece(stem, form.name)).exists()]
            with replacing(self.out / form.name) as part:
                form.join(partial(_contents, pieces), part)
        shutil.rmtree(self.pieces, ignore_errors=True)

    def _piece(self, stem: Path, name: str) -> Path:
        return self.pieces / f"{stem.name}.{name}"


def _contents(paths: Sequence[Path]) -> Iterator[bytes]:
    return (path.read_bytes() for path in paths)

"""Writing results: each photo's files as soon as it is parsed, the whole run's files at the end."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from facekp.files import make_folder, replacing, writing
from facekp.formats.base import Format, Photo, RunFormat, all_formats
from facekp.parsing.face import Face

PIECES: Final = ".pieces"
"""Subfolder of the results for each photo's pieces of the whole run's files."""


class Results:
    """Write faces in the formats of `export`; several threads and processes may write at once.

    Args:
        out: folder of the results.
        export: names of formats.

    Raises:
        DataError: the folder cannot be written.
    """

    def __init__(self, out: Path, export: Sequence[str]) -> None:
        self.out = make_folder(out)
        self.pieces = out / PIECES
        shutil.rmtree(self.pieces, ignore_errors=True)  # left by a killed run
        self.formats = [form for name, form in all_formats().items() if name in export]

    def write(self, photo: Photo, faces: Sequence[Face]) -> None:
        """Write one photo's faces, if any; each file is complete or absent.

        Raises:
            DataError: a file cannot be written.
        """
        for form in self.formats:
            path = self._path(form, photo.stem)
            with writing(path.parent):
                path.parent.mkdir(exist_ok=True)
            with replacing(path) as part:
                part.write_bytes(form.encode(photo, faces))

    def finish(self, stems: Sequence[Path]) -> None:
        """Write the whole run's files, with the written photos in the order of `stems`; call it once."""
        for form in (form for form in self.formats if isinstance(form, RunFormat)):
            pieces = [path for stem in stems if (path := self._path(form, stem)).exists()]
            with replacing(self.out / form.file) as part, part.open("wb") as file:
                form.join(pieces, file)
        shutil.rmtree(self.pieces, ignore_errors=True)

    def _path(self, form: Format, stem: Path) -> Path:
        """Return the photo's own file, or its piece of the run's file."""
        if isinstance(form, RunFormat):
            return self.pieces / f"{stem.name}.{form.file}"
        return self.out / form.file.replace("NAME", stem.name)

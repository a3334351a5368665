"""Writing results: each photo's files as soon as it is parsed, the whole run's files at the end."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2

from facekp.errors import DataError
from facekp.files import Recognise, begins_with, claim, make_folder, replacing, writing
from facekp.formats.base import Format, FormatOptions, Photo, RunFormat, all_formats
from facekp.parsing.face import Face

PIECES: Final = ".pieces"
"""Subfolder of the results for each photo's pieces of the whole run's files."""


class PhotoError(DataError):
    """A photo's faces cannot be written in a format; other photos' can."""


class Results:
    """Write faces in the formats of `export`; several threads and processes may write at once.

    Args:
        out: folder of the results; created when it is claimed.
        export: names of formats.
        options: the settings of formats; None for their defaults.

    Attributes:
        longest_ending: length of the longest ending of a photo's files.
    """

    def __init__(self, out: Path, export: Sequence[str], options: FormatOptions | None = None) -> None:
        self.out = out
        self.pieces = out / PIECES
        named = [form for name, form in all_formats().items() if name in export]
        self.formats = [writer for form in named for writer in form.open(options or FormatOptions())]
        self.longest_ending = max((len(self._path(form, Path()).name) for form in self.formats), default=0)
        self.joined = [form for form in self.formats if isinstance(form, RunFormat)]

    def files(self, stems: Sequence[Path]) -> dict[Path, Recognise]:
        """Return the files of a run, and for each what tells whether facekp wrote it."""
        found: dict[Path, Recognise] = {}
        for form in self.formats:
            paths = [self.out / form.file] if form in self.joined else [self._path(form, stem) for stem in stems]
            found |= dict.fromkeys(paths, begins_with(form.mark))
        return found

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder, and keep other processes from writing the whole run's files until they are written.

        Raises:
            DataError: the folder cannot be written, or another process is writing such files there.
        """
        make_folder(self.out)
        if not self.joined:
            yield
            return
        names = ", ".join(form.file for form in all_formats().values() if isinstance(form, RunFormat))
        busy = f"out is '{self.out}', where another run is writing its files of all photos ({names}): wait for its end"
        with claim(make_folder(self.pieces), f"{busy}, leave these out of export, or give another folder"):
            for left in self.pieces.glob("[!.]*"):  # by a killed run
                left.unlink(missing_ok=True)
            try:
                yield
            finally:
                shutil.rmtree(self.pieces, ignore_errors=True)

    def write(self, photo: Photo, faces: Sequence[Face]) -> None:
        """Write one photo's faces, if any; each file is complete or absent.

        Raises:
            PhotoError: a format cannot hold this photo; none of its files is written.
            DataError: a file cannot be written.
        """
        contents = [(form, self._encode(form, photo, faces)) for form in self.formats]
        for form, content in contents:
            path = self._path(form, photo.stem)
            with writing(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, shared=True) as part:
                part.write_bytes(content)

    def finish(self, stems: Sequence[Path], skipped: int = 0) -> None:
        """Write the whole run's files, with the written photos in the order of `stems`; call it once.

        Raises:
            DataError: a file cannot be written, or a piece of one of the photos, all but `skipped`, is missing.
        """
        for form in self.joined:
            pieces = [path for stem in stems if (path := self._path(form, stem)).exists()]
            if (missing := len(stems) - skipped - len(pieces)) > 0:
                raise DataError(
                    f"'{self.out / form.file}': not written, because the pieces of {missing} photos have vanished from "
                    f"'{self.pieces}'; start again, and let nothing else write there"
                )
            with replacing(self.out / form.file) as part, part.open("wb") as file:
                form.join(pieces, file)

    def _encode(self, form: Format, photo: Photo, faces: Sequence[Face]) -> bytes:
        try:
            return form.encode(photo, faces)
        except (OSError, ValueError, MemoryError, cv2.error) as error:
            height, width = photo.size
            kind = f"{form.file.replace('NAME', photo.stem.name)} of {width} x {height} pixels"
            raise PhotoError(
                f"image {photo.path}: {kind} cannot be made ({error}); reduce it, or leave that format out of export"
            ) from error

    def _path(self, form: Format, stem: Path) -> Path:
        """Return the photo's own file, or its piece of the run's file."""
        if isinstance(form, RunFormat):
            return self.pieces / f"{stem.name}.{form.file}"
        return self.out / form.file.replace("NAME", stem.name)

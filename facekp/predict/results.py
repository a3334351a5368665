"""Writing results: each photo's files as soon as it is parsed, the whole run's files at the end."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2

from facekp.errors import DataError
from facekp.files import Recognise, begins_with, claim, make_folder, replacing, write_file, writing
from facekp.formats.base import Format, FormatOptions, Photo, RunFormat, all_formats
from facekp.parsing.face import Face

SHARDS, OF, LIST = ".shards", "-of-", "shard.json"  # folder of the shards, each in one such as 3-of-16 with a list


class PhotoError(DataError):
    """A photo's faces cannot be written in a format; other photos' can."""


class Results:
    """Write faces in the formats of `export`; several threads and processes may write at once.

    The folder `out` is created when it is claimed. `shard` is the run's share of the photos, "K/N", or None for all;
    `facekp.predict.merge` joins the files of all N. `longest_ending` is the length of the longest
    ending of a photo's files.
    """

    def __init__(
        self, out: Path, export: Sequence[str], options: FormatOptions | None = None, shard: str | None = None
    ) -> None:
        self.out = out
        self.shard = shard
        self.pieces = out / ".pieces" if shard is None else out / SHARDS / shard.replace("/", OF)
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
                if self.shard is None:
                    shutil.rmtree(self.pieces, ignore_errors=True)

    def write(self, photo: Photo, faces: Sequence[Face]) -> None:
        """Write one photo's faces, if any; each file is complete or absent.

        Raises:
            PhotoError: a format cannot hold this photo; none of its files is written.
            DataError: a file cannot be written.
        """
        contents = {}
        for form in self.formats:
            try:
                contents[self._path(form, photo.stem)] = form.encode(photo, faces)
            except (OSError, ValueError, MemoryError, cv2.error) as error:
                file, (height, width) = form.file.replace("NAME", photo.stem.name), photo.size
                raise PhotoError(
                    f"image {photo.path}: {file} of {width} x {height} pixels cannot be made ({error}); reduce it, or "
                    "leave that format out of export"
                ) from error
        for path, content in contents.items():
            with writing(path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content)

    def finish(self, stems: Sequence[Path], skipped: int = 0, every: Sequence[Path] = ()) -> None:
        """Write the whole run's files, with the written photos in the order of `stems`; call it once.

        A shard lists its photos for `facekp.predict.merge` instead; `every` has the stems of all shards' files.

        Raises:
            DataError: a file cannot be written, or a piece of one of the photos, all but `skipped`, is missing.
        """
        for form in self.joined:
            join(form, [self._path(form, stem) for stem in stems], skipped, self.out if self.shard is None else None)
        if self.joined and self.shard:
            source = hashlib.sha256(repr([stem.name for stem in every]).encode()).hexdigest()
            photos, names = [stem.name for stem in stems], [form.file for form in self.joined]
            listed = {"photos": photos, "skipped": skipped, "files": names, "source": source}
            write_file(self.pieces / LIST, json.dumps(listed))

    def _path(self, form: Format, stem: Path) -> Path:
        """Return the photo's own file, or its piece of the run's file."""
        if isinstance(form, RunFormat):
            return piece(self.pieces, stem.name, form)
        return self.out / form.file.replace("NAME", stem.name)


def piece(folder: Path, name: str, form: RunFormat) -> Path:
    """Return the path of a photo's piece of the whole run's file, in a folder of pieces."""
    return folder / f"{name}.{form.file}"


def join(form: RunFormat, pieces: Sequence[Path], skipped: int, out: Path | None) -> None:
    """Write the whole run's file into the folder `out` from the pieces that exist; None only checks them.

    Raises:
        DataError: the file cannot be written, or one of the pieces, all but `skipped`, is missing.
    """
    there = [path for path in pieces if path.exists()]
    if (missing := len(pieces) - skipped - len(there)) > 0:
        raise DataError(
            f"'{form.file}': not written, because the pieces of {missing} photos have vanished from "
            f"'{pieces[0].parent}'; start again, and let nothing else write there"
        )
    if out is not None:
        with replacing(out / form.file) as part, part.open("wb") as file:
            form.join(there, file)

"""What every format is given, and the two kinds of format there are."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from facekp.images import UInt8Array
from facekp.parsing.face import Face


@dataclass(frozen=True)
class Photo:
    """A photo that was parsed.

    Attributes:
        path: its file, as the user named it.
        file: its path below the folder that all photos of the run lie in.
        stem: folder and name of its results; no two photos of a run have the same.
        image: (H, W, 3) uint8 RGB, turned upright.
    """

    path: Path
    file: str
    stem: Path
    image: UInt8Array

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def path_from(self, folder: Path) -> str:
        """Return the photo's path from `folder`, with forward slashes; it may be bytes that are no text."""
        return Path(os.path.relpath(self.path, folder)).as_posix()

    def result(self, suffix: str) -> Path:
        """Return the path of the result that ends so."""
        return self.stem.with_name(self.stem.name + suffix)


class PhotoFormat(Protocol):
    """A format with a file for each photo."""

    def __call__(self, photo: Photo, faces: Sequence[Face]) -> None:
        """Write a photo's faces, none or more; the file is whole or absent."""
        ...


@dataclass(frozen=True)
class RunFormat:
    """A format with one file for all photos of a run.

    Photos are parsed by several threads or processes, so each first becomes a piece; the pieces are joined at the end.

    Attributes:
        name: of the file.
        piece: returns what a photo adds to it.
        join: writes the file at a path from a function that goes through all pieces, in the photos' order, as often as
            it is called. It holds few of them at a time.
    """

    name: str
    piece: Callable[[Photo, Sequence[Face]], bytes]
    join: Callable[[Callable[[], Iterator[bytes]], Path], None]


def as_text(path: str | Path) -> str:
    """Return a path as text; a file's name may be any bytes."""
    return os.fsencode(path).decode("utf-8", "replace")

"""Base classes of export formats, their input `Photo`, and polygons."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, Self

import cv2
import numpy as np

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.images import UInt8Array
from facekp.keypoints.curves import Points
from facekp.parsing.face import Face
from facekp.parsing.id_tables import OWN
from facekp.parsing.regions import class_ids
from facekp.registry import Registry

TOLERANCE: Final = 0.25  # maximum distance in pixels between an outline and its polygon
CORNER: Final = np.float32(0.5)  # offset of coordinates: from an origin at a pixel's centre to one at its corner


@dataclass(frozen=True, eq=False)
class Photo:
    """A parsed photo.

    Attributes:
        path: path as given by the user.
        file: its path relative to the folder that contains all photos of the run.
        stem: folder and name of its results, without a suffix; unique within the run.
        image: (H, W, 3) uint8 RGB, upright.
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
        """Return the photo's path relative to `folder`, with forward slashes; its bytes need not be valid text."""
        return Path(os.path.relpath(self.path, folder)).as_posix()


@dataclass(frozen=True)
class FormatOptions:
    """What the settings of predict.py say about formats.

    The fields are arguments of `facekp.Face.region`, `alpha` and `mask_as`; `classes` are those of the faces.
    """

    regions: Sequence[str] = ()
    feather: float = 0
    grow: float = 0
    ids: str = OWN
    classes: Classes = CELEBAMASK_HQ


class Format(ABC):
    """An export format with one file per photo (`RegionFormat`: also per region; `RunFormat`: one file per run).

    Attributes:
        file: name of its file in the results folder; NAME stands for the photo's stem.
        help: one line on the file's content.
        mark: regular expression that the first bytes of its file match, and of no other program's. An existing file
            that does not match is not replaced without `overwrite=true`, nor is any if there is no mark.
        last: whether it is written after all others, so that its file marks a finished photo.
    """

    file: str
    help: ClassVar[str]
    mark: ClassVar[bytes] = rb"(?!)"
    last: ClassVar[bool] = False

    @abstractmethod
    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the file's content for one photo and its faces, if any."""

    @classmethod
    def open(cls, options: FormatOptions) -> Sequence["Format"]:
        """Return the writers of this format's files, one for each file of a photo."""
        return [cls()]

    @property
    def ending(self) -> str:
        """How the names of its files end."""
        return self.file.rpartition("NAME")[2]


FORMATS: Final[Registry[type[Format]]] = Registry("export", "facekp.formats")
"""The formats; `@FORMATS.register(name)` adds a class under its name in `export=[...]`."""
PNG_MARK: Final = rb"\x89PNG.{,99}tEXtSoftware\x00facekp"  # first bytes of a PNG with the note `SOFTWARE`
SOFTWARE: Final = {"Software": "facekp"}


class RunFormat(Format):
    """A format with one file for all photos of a run.

    Photos are encoded by several threads or processes, each into a piece of its own; `join` puts the pieces together.
    """

    @abstractmethod
    def join(self, pieces: Sequence[Path], out: BinaryIO) -> None:
        """Write the run's file from its pieces, files in the order of the photos; keep few in memory at a time."""


class RegionFormat(Format):
    """A format with one PNG per photo and region; REGION stands for the region's name in `file`.

    Args:
        region: see `facekp.Face.region`.
        options: how soft edges are made.
    """

    mark = PNG_MARK

    def __init__(self, region: str = "REGION", options: FormatOptions = FormatOptions()) -> None:
        self.file = self.file.replace("REGION", region)
        self.region, self.options = region, options

    @classmethod
    def open(cls, options: FormatOptions) -> Sequence[Self]:
        """Return a writer for each region."""
        return [cls(region, options) for region in dict.fromkeys(options.regions)]

    @property
    def ending(self) -> str:
        """How the names of its files end, after the region."""
        return self.file.rpartition(self.region)[2]

    def alpha(self, size: tuple[int, int], faces: Sequence[Face]) -> UInt8Array:
        """Return the region's alpha (H, W) uint8 in a photo of `size` (H, W): the highest of all faces."""
        # Outside a face all is background, so that a region with background lies where all faces have it.
        behind = 0 in class_ids(self.region, self.options.classes)
        merged = np.full(size, float(behind), np.float32)
        for face in faces:
            alpha = face.alpha(self.region, feather=self.options.feather, grow=self.options.grow)
            (np.minimum if behind else np.maximum)(merged, alpha, out=merged)
        return np.round(255 * merged).astype(np.uint8)


def all_formats() -> dict[str, Format]:
    """Return every format by name, in the order of writing."""
    return {name: FORMATS[name]() for name in sorted(FORMATS.names(), key=lambda name: FORMATS[name].last)}


def describe_formats() -> str:
    """Return one line per format: its name, its file and what the file holds."""
    return "\n".join(f"  {name:8}  {form.file:22}  {form.help}" for name, form in all_formats().items())


def as_text(path: str | Path) -> str:
    """Return a path as text; bytes that are not valid UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def polygon(points: Points) -> Points:
    """Simplify a closed outline (m, 2) to within `TOLERANCE` pixels, and move its origin to the pixel's corner.

    Example:
        >>> square = np.array([[0, 0], [4, 0], [9, 0], [9, 9], [0, 9]], np.float32)
        >>> polygon(square).tolist()
        [[0.5, 0.5], [9.5, 0.5], [9.5, 9.5], [0.5, 9.5]]
    """
    fewer = cv2.approxPolyDP(points, TOLERANCE, True)[:, 0]
    return np.asarray(fewer if len(fewer) > 2 else points, np.float32) + CORNER

"""How far facekp's landmarks lie from two detectors' points, beside how far those lie from one another.

`python -m benchmarks.landmarks data.root=... landmarks=... [ckpt=...]`: from the true masks of the validation split, or
from those that a checkpoint predicts. The folder `landmarks` holds `val_dlib68.csv` and `val_mediapipe478.csv`: columns
`id,x0,y0,x1,...`, pixels of the image at 512 x 512, no row for an image in which the detector found no face.

An error is a distance over the distance between dlib's outer eye corners, points 36 and 45. Every figure is over the
same images for all: those with a dlib row in which the attribute is there. The constants of `facekp.landmarks` were
fitted on the images at even places of the split (`fit=true`), so the table is of those at odd places.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from omegaconf import MISSING
from tabulate import tabulate
from tqdm import tqdm

from facekp.attributes import ATTRIBUTES, IGNORE_INDEX
from facekp.cli import parse_cli
from facekp.config import DataConfig, expand
from facekp.data.layout import Sample, read_index
from facekp.data.sources import prepared_root
from facekp.errors import DataError, one_line_errors
from facekp.face import Face, face_from_mask
from facekp.folder import make_folder, replacing
from facekp.images import read_label
from facekp.keypoints import KeypointConfig
from facekp.landmarks import NUMBERS
from facekp.machine import describe_machine, list_versions

Points = npt.NDArray[np.float64]
"""(images, points, 2), pixels of the image at 512 x 512; NaN where there is none."""
SIZE = 512
DLIB, MEDIAPIPE = "val_dlib68.csv", "val_mediapipe478.csv"
TO_MEDIAPIPE = {36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 54: 291, 51: 0, 57: 17, 33: 2, 8: 152}
"""dlib's points that MediaPipe's mesh has too."""
CORNERS = (36, 39, 42, 45, 48, 54)
NAMES = {number: name for name, number in NUMBERS.items() if number is not None}
LIPS = ("mouth", "u_lip", "l_lip")
EXTREMES = {
    **{36: (("r_eye",), 0, min), 39: (("r_eye",), 0, max), 42: (("l_eye",), 0, min), 45: (("l_eye",), 0, max)},
    **{48: (LIPS, 0, min), 54: (LIPS, 0, max), 51: (LIPS, 1, min), 57: (LIPS, 1, max)},
    **{33: (("nose",), 1, max), 8: (("skin",), 1, max)},
}
"""The plain way: attributes, axis (x, y) and end of a mask's extreme pixels, for the points of `TO_MEDIAPIPE`."""


@dataclass
class Settings:
    """What is measured against what."""

    landmarks: str = field(default=MISSING, metadata={"help": f"folder with {DLIB} and {MEDIAPIPE}"})
    data: DataConfig = field(default_factory=DataConfig)
    ckpt: str | None = field(default=None, metadata={"help": "predict the masks with it; null: the true masks"})
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    fit: bool = field(default=False, metadata={"help": "fit the constants anew first, and measure with those"})
    out: str | None = field(default=None, metadata={"help": "file for the figures; null: none"})


@dataclass(frozen=True)
class Measured:
    """Everything that the errors are made of, one row an image with a dlib row.

    Attributes:
        ours: 68 points.
        visible: (images, 68) bool.
        plain: 68 points, most of them NaN.
        dlib: 68 points.
        mediapipe: 68 points, most of them NaN.
        held_out: (images,) bool, at an odd place of the split.
    """

    ours: Points
    visible: npt.NDArray[np.bool_]
    plain: Points
    dlib: Points
    mediapipe: Points
    held_out: npt.NDArray[np.bool_]

    def error(self, ours: Points, theirs: Points) -> Points:
        """Return the distances (images, 68) in percent of the distance between dlib's outer eye corners."""
        span = np.linalg.norm(self.dlib[:, 45] - self.dlib[:, 36], axis=1)
        percent: Points = 100 * np.linalg.norm(ours - theirs, axis=2) / span[:, None]
        return percent


def read_points(path: Path, count: int) -> dict[str, Points]:
    """Read a detector's points (count, 2) by image.

    Raises:
        DataError: no such file, or another number of points.
    """
    if not path.is_file():
        raise DataError(f"landmarks: '{path}' is missing; give the folder that holds it")
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row[0]: np.array(row[1:], np.float64) for row in list(csv.reader(file))[1:]}
    wrong = next((name for name, row in rows.items() if row.size != 2 * count), None)
    if wrong is not None:
        raise DataError(f"landmarks: '{path}' has {rows[wrong].size} numbers for image {wrong}, need {2 * count}")
    return {name: row.reshape(count, 2) for name, row in rows.items()}


def true_face(sample: Sample) -> Face:
    """Return the face of a sample's own label."""
    label = read_label(sample.label)
    label[label == IGNORE_INDEX] = 0
    return face_from_mask(label, dict.fromkeys(range(len(ATTRIBUTES)), 1.0), KeypointConfig())


def plain_extremes(face: Face) -> Points:
    """Return the mean of a mask's extreme pixels, (68, 2), for the points that have some."""
    points = np.full((len(NAMES), 2), np.nan)
    for number, (names, axis, end) in EXTREMES.items():
        inside = np.isin(face.mask, [ATTRIBUTES.index(name) for name in names if name in face.attributes])
        pixels = np.argwhere(inside)[:, ::-1]
        if len(pixels):
            points[number] = pixels[pixels[:, axis] == end(pixels[:, axis])].mean(0)
    return points


def measure(samples: Sequence[Sample], faces: Callable[[Sample], Face], folder: Path) -> Measured:
    """Find the landmarks of every sample that dlib's file lists."""
    dlib, mediapipe = read_points(folder / DLIB, 68), read_points(folder / MEDIAPIPE, 478)
    listed = [(place, sample) for place, sample in enumerate(samples) if sample.id in dlib]
    if not listed:
        raise DataError(f"landmarks: '{folder / DLIB}' has no image of the validation split; give the data set's own")
    ours, visible, plain, meshes = [], [], [], []
    for _, sample in tqdm(listed, desc="finding landmarks", unit="face"):
        face = faces(sample)
        own, seen = _numbered(face)
        scale = SIZE / face.mask.shape[1]
        ours.append((own + 0.5) * scale - 0.5)
        plain.append((plain_extremes(face) + 0.5) * scale - 0.5)
        visible.append(seen)
        meshes.append(_in_dlibs_order(mediapipe.get(sample.id)))
    return Measured(
        np.array(ours),
        np.array(visible),
        np.array(plain),
        np.array([dlib[sample.id] for _, sample in listed]),
        np.array(meshes),
        np.array([place % 2 == 1 for place, _ in listed]),
    )


def _numbered(face: Face) -> tuple[Points, npt.NDArray[np.bool_]]:
    points = np.full((len(NAMES), 2), np.nan)
    for number, name in NAMES.items():
        xy = face.landmarks[name].xy
        if xy is not None:
            points[number] = xy
    return points, np.array([face.landmarks[NAMES[number]].visible for number in range(len(NAMES))])


def _in_dlibs_order(mesh: Points | None) -> Points:
    points = np.full((len(NAMES), 2), np.nan)
    if mesh is not None:
        points[list(TO_MEDIAPIPE)] = mesh[list(TO_MEDIAPIPE.values())]
    return points


def summarise(measured: Measured, images: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    """Yield the figures of each point over `images` (images,) bool, in percent."""
    errors = {
        "dlib": measured.error(measured.ours, measured.dlib),
        "mediapipe": measured.error(measured.ours, measured.mediapipe),
        "plain": measured.error(measured.plain, measured.dlib),
        "detectors": measured.error(measured.mediapipe, measured.dlib),
    }
    for number, name in sorted(NAMES.items()):
        there = images & np.isfinite(errors["dlib"][:, number])
        own = errors["dlib"][there, number]
        row: dict[str, Any] = {"name": name, "number": number, "images": int(there.sum())}
        if len(own):
            row |= {"mean": own.mean(), "median": np.median(own), "p95": np.percentile(own, 95)}
        for key, kept in (
            ("visible", errors["dlib"][there & measured.visible[:, number], number]),
            *((f"{other}", errors[other][there, number]) for other in ("plain", "mediapipe", "detectors")),
        ):
            finite = kept[np.isfinite(kept)]
            row[key] = finite.mean() if len(finite) else None
        yield {k: round(float(v), 3) if isinstance(v, float) else v for k, v in row.items()}


def corner_means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the means over the corners of eyes and mouth."""
    keys = ("mean", "visible", "plain", "mediapipe", "detectors")
    return {key: round(float(np.mean([rows[number][key] for number in CORNERS])), 3) for key in keys}

"""How far the landmarks lie from two detectors' points, beside how far those lie from one another.

`python -m benchmarks.landmarks root=... [ckpt=...]`: from the true masks of the validation split and, with a
checkpoint, from the masks that it predicts. An error is a distance in percent of the distance between dlib's outer eye
corners, points 36 and 45. The landmarks of every face come from a calibration that was fitted without it, on the true
masks of the other four fifths (see `benchmarks.calibrate`).
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from omegaconf import MISSING
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.calibrate import FOLDS, find_gaps, held_out
from benchmarks.detectors import Detected, Points, read_detected, to_detectors_pixels, true_faces
from facekp.classes import ATTRIBUTES
from facekp.cli import parse_cli
from facekp.errors import one_line_errors
from facekp.files import expand, make_folder, replacing
from facekp.hardware import describe_machine, list_versions
from facekp.keypoints.landmarks import NUMBERS, Calibration, find_landmarks
from facekp.parsing.face import Face
from facekp.parsing.parser import FaceParser

CORNERS = (36, 39, 42, 45, 48, 54)
GOAL = 2.4
NAMES = [name for name, number in NUMBERS.items() if number is not None]
LIPS = ("mouth", "u_lip", "l_lip")
EXTREMES = {
    **{36: (("r_eye",), "x", 0), 39: (("r_eye",), "x", -1), 42: (("l_eye",), "x", 0), 45: (("l_eye",), "x", -1)},
    **{48: (LIPS, "x", 0), 54: (LIPS, "x", -1), 51: (LIPS, "y", 0), 57: (LIPS, "y", -1)},
    **{33: (("nose",), "y", -1), 8: (("skin",), "y", -1)},
}
"""The plain way: attributes, axis and end of a mask's extreme pixels."""
COLUMNS = {
    "true": "true masks\nto dlib",
    "true_visible": "visible\nto dlib",
    "plain": "extremes\nto dlib",
    "predicted": "predicted\nto dlib",
    "true_mediapipe": "true masks\nto MediaPipe",
    "plain_mediapipe": "extremes\nto MediaPipe",
    "predicted_mediapipe": "predicted\nto MediaPipe",
    "detectors": "dlib to\nMediaPipe",
}
"""Keys of the errors in the file, and their headings in the table."""


@dataclass
class Settings:
    """What is measured against what."""

    root: str = field(default=MISSING, metadata={"help": "CelebAMask-HQ, prepared or as downloaded"})
    landmarks: str | None = field(default=None, metadata={"help": "folder of the detectors' files; null: beside root"})
    ckpt: str | None = field(default=None, metadata={"help": "measure the masks that it predicts, too"})
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    out: str = field(default="benchmarks/landmarks.json", metadata={"help": "file for the figures"})


@dataclass(frozen=True)
class Found:
    """Landmarks of all faces: points (images, 68, 2), pixels at 512 x 512, NaN where absent, and who is visible."""

    points: Points
    visible: npt.NDArray[np.bool_]


def find_all(faces: Sequence[Face], calibrations: Sequence[Calibration]) -> Found:
    """Return the landmarks of each face by its own calibration."""
    found = [_find(face, calibration) for face, calibration in zip(faces, calibrations, strict=True)]
    return Found(np.array([points for points, _ in found]), np.array([visible for _, visible in found]))


def _find(face: Face, calibration: Calibration) -> tuple[Points, list[bool]]:
    contours = {name: attribute.contours for name, attribute in face.attributes.items()}
    landmarks = find_landmarks(face.mask, contours, dict.fromkeys(contours, 1.0), calibration)
    own = [landmarks[name] for name in NAMES]
    points = np.array([(np.nan, np.nan) if landmark.xy is None else landmark.xy for landmark in own])
    return to_detectors_pixels(points, face), [landmark.visible for landmark in own]


def plain_extremes(face: Face) -> Points:
    """Return the mean of a mask's extreme pixels, (68, 2) at 512 x 512, for the points that have some."""
    points = np.full((len(NAMES), 2), np.nan)
    for number, (names, axis, end) in EXTREMES.items():
        inside = np.isin(range(len(ATTRIBUTES)), [ATTRIBUTES.index(name) for name in names])[face.mask]
        lines = np.flatnonzero(inside.any(0 if axis == "x" else 1))
        if len(lines):
            across = np.flatnonzero(inside[:, lines[end]] if axis == "x" else inside[lines[end]]).mean()
            points[number] = (lines[end], across) if axis == "x" else (across, lines[end])
    return to_detectors_pixels(points, face)


def measure(detected: Sequence[Detected], true: Sequence[Face], predicted: Sequence[Face]) -> dict[str, Points]:
    """Return the errors (images, 68), percent, by the keys of `COLUMNS`; NaN where a point is absent.

    Args:
        detected: the images.
        true: the faces of their labels.
        predicted: those of a network's masks, or none.
    """
    calibrations = list(held_out([find_gaps(face, one) for face, one in zip(true, detected, strict=True)]))
    dlib, mediapipe = np.array([one.dlib for one in detected]), np.array([one.mediapipe for one in detected])
    span = np.array([one.span for one in detected])[:, None]

    def error(ours: Points, theirs: Points) -> Points:
        percent: Points = 100 * np.linalg.norm(ours - theirs, axis=2) / span
        return percent

    found, plain = find_all(true, calibrations), np.array([plain_extremes(face) for face in true])
    errors = {
        "true": error(found.points, dlib),
        "true_visible": np.where(found.visible, error(found.points, dlib), np.nan),
        "plain": error(plain, dlib),
        "true_mediapipe": error(found.points, mediapipe),
        "plain_mediapipe": error(plain, mediapipe),
        "detectors": error(dlib, mediapipe),
    }
    if predicted:
        points = find_all(predicted, calibrations).points
        errors |= {"predicted": error(points, dlib), "predicted_mediapipe": error(points, mediapipe)}
    return errors


def summarise(errors: dict[str, Points]) -> Iterator[dict[str, Any]]:
    """Yield a row for each of the 68 points, then the means over the corners and over all points.

    A figure is a mean over the images in which the true masks have the point. Where the predicted ones lack it there,
    it is counted as `missed`.
    """
    rows = []
    for number, name in enumerate(NAMES):
        there = np.isfinite(errors["true"][:, number])
        row: dict[str, Any] = {"name": name, "number": number, "images": int(there.sum())}
        row |= {key: _mean(errors[key][there, number]) for key in COLUMNS if key in errors}
        if "predicted" in errors:
            row["missed"] = int(np.isnan(errors["predicted"][there, number]).sum())
        rows.append(row)
    yield from rows
    for name, numbers in (("eye and mouth corners", CORNERS), ("all points", range(len(NAMES)))):
        columns = {key: [rows[number][key] for number in numbers] for key in COLUMNS if key in errors}
        yield {"name": name} | {key: _mean(column) for key, column in columns.items() if None not in column}


def _mean(values: npt.ArrayLike) -> float | None:
    known = np.array(values, np.float64)
    known = known[np.isfinite(known)]
    return round(float(known.mean()), 3) if len(known) else None


def parse_all(settings: Settings, detected: Sequence[Detected]) -> list[Face]:
    """Return the faces of the masks that a checkpoint predicts; none without one."""
    if settings.ckpt is None:
        return []
    parser = FaceParser.from_checkpoint(settings.ckpt, device=settings.device, backend=settings.backend)
    return [parser(one.sample.image)[0] for one in tqdm(detected, desc="predicting", unit="face")]


def main(argv: Sequence[str]) -> None:
    """Measure, print and write."""
    settings = parse_cli(Settings, argv, program="python -m benchmarks.landmarks", about=__doc__ or "")
    out = expand(settings.out)
    make_folder(out.parent)
    detected = read_detected(settings.root, settings.landmarks)
    errors = measure(detected, true_faces(detected), parse_all(settings, detected))
    rows = list(summarise(errors))
    headings = {"name": "landmark", "number": "number", "images": "images", **COLUMNS, "missed": "missed"}
    shown = {key: heading for key, heading in headings.items() if any(key in row for row in rows)}
    print(tabulate([[row.get(key) for key in shown] for row in rows], list(shown.values()), floatfmt=".2f"))
    content = {
        "machine": describe_machine(),
        "versions": list_versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "ckpt": settings.ckpt,
        "images": len(detected),
        "folds": FOLDS,
        "goal": {"points": CORNERS, "true": GOAL},
        "rows": rows,
    }
    with replacing(out) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"percent of the distance between the outer eye corners, {len(detected)} images; written to {out}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

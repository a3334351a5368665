"""Fits the landmarks' calibration to dlib's points: `python -m benchmarks.calibrate root=...` writes it anew.

What is shipped is fitted on all faces of the validation split that dlib found, as there are no detectors' points for
others, and on the landmarks that can be seen. Its own errors on them would flatter it: `python -m benchmarks.landmarks`
measures every face with a calibration that was fitted without it.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from omegaconf import MISSING

import facekp.keypoints.landmarks
from benchmarks.detectors import SIZE, Detected, Points, from_detectors_pixels, read_detected, true_faces
from facekp.cli import parse_cli
from facekp.errors import one_line_errors
from facekp.files import replacing
from facekp.keypoints.landmarks.axes import find_axes
from facekp.keypoints.landmarks.calibration import FILE, Calibration, features, kind, mirrored
from facekp.keypoints.landmarks.find import find_landmarks
from facekp.keypoints.landmarks.groups import measure
from facekp.keypoints.landmarks.names import NUMBERS
from facekp.parsing.face import Face

OUT = Path(facekp.keypoints.landmarks.__file__).parent / FILE
FOLDS = 5
ROUNDS = 30
DECIMALS = 4


@dataclass(frozen=True)
class Gap:
    """From a landmark to the detector's, seen as if it lay on the face's right side.

    Attributes:
        part: such as "eye".
        kind: see `facekp.keypoints.landmarks.calibration.kind`.
        width: of the part, frame units.
        turn: of the head.
        gap: du, dv, frame units.
        span: distance between the detector's outer eye corners, frame units.
    """

    part: str
    kind: str
    width: float
    turn: float
    gap: tuple[float, float]
    span: float


def find_gaps(face: Face, detected: Detected) -> list[Gap]:
    """Compare the uncalibrated landmarks of a face with dlib's points, where they are visible."""
    contours = {name: attribute.contours for name, attribute in face.attributes.items()}
    plain = find_landmarks(face.mask, contours, dict.fromkeys(contours, 1.0), Calibration({}, {}))
    axes = find_axes(face.mask.shape, contours)
    groups, turn = measure(contours, axes)
    target = axes.to_face(from_detectors_pixels(detected.dlib, face))
    span = detected.span * face.mask.shape[1] / SIZE / axes.unit
    return [
        Gap(group.part, kind(name), group.width, sign * turn, (sign * (end[0] - start[0]), end[1] - start[1]), span)
        for group in groups
        for name, start in zip(group.names, group.points, strict=True)
        if (number := NUMBERS[name]) is not None and plain[name].visible
        for end in target[number : number + 1]
        for sign in _sides(name)
    ]


def _sides(name: str) -> tuple[int, ...]:
    """Return on which sides a landmark lies, 1 for the right one; on the middle line it is its own mirror image."""
    return (1,) if name.startswith("r_") else (-1,) if name.startswith("l_") else (1, -1)


def fit(gaps: Sequence[Gap]) -> tuple[dict[str, float], dict[str, Points]]:
    """Return usual widths by part, and the numbers (2, 3) that leave the least mean distance by kind."""
    widths, kinds = defaultdict[str, list[float]](list), defaultdict[str, list[Gap]](list)
    for gap in gaps:
        widths[gap.part].append(gap.width)
        kinds[gap.kind].append(gap)
    usual = {part: round(float(np.median(found)), DECIMALS) for part, found in widths.items()}
    return usual, {name: _fit_kind(own, usual[own[0].part]) for name, own in kinds.items()}


def _fit_kind(gaps: Sequence[Gap], usual: float) -> Points:
    """Return the (2, 3) numbers of one kind: least sum of distances, by least squares weighted anew (Weiszfeld)."""
    x = np.stack([features(gap.width / usual, gap.turn) for gap in gaps])
    y = np.array([gap.gap for gap in gaps])
    span = np.array([gap.span for gap in gaps])
    weights, numbers = 1 / span, np.zeros((3, 2))
    for _ in range(ROUNDS):
        root = np.sqrt(weights)[:, None]
        numbers = np.linalg.lstsq(x * root, y * root, rcond=None)[0]
        weights = 1 / (span * np.maximum(np.hypot(*(y - x @ numbers).T), 1e-4))
    fitted: Points = numbers.T.round(DECIMALS) + 0.0  # no -0.0
    return fitted


def held_out(gaps: Sequence[Sequence[Gap]]) -> Iterator[Calibration]:
    """Yield for each face a calibration that was fitted without it and the others of its fold, every fifth face."""
    fitted = []
    for fold in range(FOLDS):
        widths, moves = fit([gap for i, own in enumerate(gaps) if i % FOLDS != fold for gap in own])
        fitted.append(Calibration(widths, mirrored(moves)))
    for i in range(len(gaps)):
        yield fitted[i % FOLDS]


@dataclass
class Settings:
    """What the calibration is fitted to."""

    root: str = field(default=MISSING, metadata={"help": "CelebAMask-HQ, prepared or as downloaded"})
    landmarks: str | None = field(default=None, metadata={"help": "folder of the detectors' files; null: beside root"})


def main(argv: Sequence[str]) -> None:
    """Fit on all faces, and write the package's file."""
    settings = parse_cli(Settings, argv, program="python -m benchmarks.calibrate", about=__doc__ or "")
    detected = read_detected(settings.root, settings.landmarks)
    faces = true_faces(detected)
    widths, moves = fit([gap for face, one in zip(faces, detected, strict=True) for gap in find_gaps(face, one)])
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(numbers.tolist())}" for name, numbers in moves.items())
    with replacing(OUT) as part:
        part.write_text(f'{{\n  "widths": {json.dumps(widths)},\n  "moves": {{\n{rows}\n  }}\n}}\n', encoding="utf-8")
    print(f"written to {OUT}: {len(moves)} kinds of landmarks, fitted on {len(faces)} faces")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

"""Distances of the landmarks from two detectors' points: `python -m benchmarks.landmarks root=... [ckpt=...]`.

Landmarks are read off the true masks of the validation split and a checkpoint's predictions; distances are in percent
of the distance between dlib's outer eye corners. The calibration for a face was fitted to dlib's points without that
face; `fit=true` fits the shipped calibration to the visible landmarks of all faces.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from omegaconf import MISSING
from tabulate import tabulate
from tqdm import tqdm

import facekp.keypoints.landmarks
from benchmarks.harness import run, stamp, write_json
from benchmarks.samples import SIZE, Detected, Points, read_detected, true_faces
from facekp.classes import CELEBAMASK_HQ
from facekp.files import write_file
from facekp.keypoints.landmarks import NUMBERS, Calibration, find_landmarks
from facekp.keypoints.landmarks import groups as part_groups
from facekp.keypoints.landmarks.axes import find_axes
from facekp.keypoints.landmarks.calibration import FILE, features, kind, mirrored
from facekp.parsing.face import Face
from facekp.parsing.parser import FaceParser
from facekp.settings import setting

CORNERS = (36, 39, 42, 45, 48, 54)
GOAL = 2.4
NAMES = [name for name, number in NUMBERS.items() if number is not None]
LIPS = ("mouth", "u_lip", "l_lip")
EXTREMES = {
    **{36: (("r_eye",), "x", 0), 39: (("r_eye",), "x", -1), 42: (("l_eye",), "x", 0), 45: (("l_eye",), "x", -1)},
    **{48: (LIPS, "x", 0), 54: (LIPS, "x", -1), 51: (LIPS, "y", 0), 57: (LIPS, "y", -1)},
    **{33: (("nose",), "y", -1), 8: (("skin",), "y", -1)},
}
"""Attributes, axis and end of a mask's extreme pixels: the plain way to find a landmark."""
COLUMNS = ("true", "true_visible", "plain", "predicted",
           "true_mediapipe", "plain_mediapipe", "predicted_mediapipe", "detectors")  # fmt: skip
"""Errors of true and predicted masks to dlib's and MediaPipe's points; `plain`: of extremes; `detectors`: of dlib's."""
CALIBRATION = Path(facekp.keypoints.landmarks.__file__).parent / FILE
FOLDS, ROUNDS, DECIMALS = 5, 30, 4
SIDES = {"r_": (1,), "l_": (-1,)}  # by a landmark's prefix, 1 for the right; the middle line has both


@dataclass
class Options:
    """Data set, detectors' files, and network."""

    root: str = setting(MISSING, "CelebAMask-HQ, prepared or as downloaded")
    landmarks: str | None = setting(None, "folder of the detectors' files; null: beside root")
    ckpt: str | None = setting(None, "also measure the masks that it predicts")
    out: str = setting("benchmarks/landmarks.json", "file for the figures")
    fit: bool = setting(False, "instead, fit the package's calibration on all faces")


@dataclass(frozen=True)
class Gap:
    """Offset (du, dv) from a landmark to the detector's, mirrored to the face's right side, in frame units."""

    part: str
    kind: str
    width: float
    turn: float
    gap: tuple[float, float]
    span: float


def find_gaps(face: Face, detected: Detected) -> list[Gap]:
    """Compare the visible uncalibrated landmarks of a face with dlib's points."""
    contours = {name: attribute.contours for name, attribute in face.attributes.items()}
    plain = find_landmarks(face.mask, contours, dict.fromkeys(contours, 1.0), Calibration({}, {}))
    axes = find_axes(face.mask.shape, contours)
    groups, turn = part_groups.measure(contours, axes)
    scale = np.array(face.mask.shape[::-1]) / SIZE
    target = axes.to_face((detected.dlib + 0.5) * scale - 0.5)
    span = detected.span * scale[0] / axes.unit
    gaps = []
    for group in groups:
        for name, start in zip(group.names, group.points, strict=True):
            if NUMBERS[name] is not None and plain[name].visible:
                du, dv = target[NUMBERS[name]] - start
                for side in SIDES.get(name[:2], (1, -1)):
                    gaps.append(Gap(group.part, kind(name), group.width, side * turn, (side * du, dv), span))
    return gaps


def fit(gaps: Sequence[Gap]) -> tuple[dict[str, float], dict[str, Points]]:
    """Return the usual widths by part, and the coefficients (2, 3) with the least mean distance by kind."""
    table = pd.DataFrame({"part": gap.part, "kind": gap.kind, "width": gap.width, "gap": gap} for gap in gaps)
    usual = table.groupby("part", sort=False).width.median().round(DECIMALS).to_dict()
    moves: dict[str, Points] = {}
    for name, own in table.groupby("kind", sort=False).gap.apply(list).items():
        x = np.stack([features(gap.width / usual[gap.part], gap.turn) for gap in own])
        y, span = np.array([gap.gap for gap in own]), np.array([gap.span for gap in own])
        weights, coefficients = 1 / span, np.zeros((3, 2))
        for _ in range(ROUNDS):  # Weiszfeld's algorithm: reweighted least squares give the least sum of distances
            root = np.sqrt(weights)[:, None]
            coefficients = np.linalg.lstsq(x * root, y * root, rcond=None)[0]
            weights = 1 / (span * np.maximum(np.hypot(*(y - x @ coefficients).T), 1e-4))
        moves[str(name)] = coefficients.T.round(DECIMALS) + 0.0  # no -0.0
    return usual, moves


def held_out(gaps: Sequence[Sequence[Gap]]) -> Iterator[Calibration]:
    """Yield for each face a calibration that was fitted without it and the others of its fold, every fifth face."""
    folds = [fit([gap for i, own in enumerate(gaps) if i % FOLDS != fold for gap in own]) for fold in range(FOLDS)]
    fitted = [Calibration(widths, mirrored(moves)) for widths, moves in folds]
    yield from (fitted[i % FOLDS] for i in range(len(gaps)))


def find_all(faces: Sequence[Face], calibrations: Sequence[Calibration]) -> tuple[Points, npt.NDArray[np.bool_]]:
    """Return every face's landmarks by its own calibration (n, 68, 2), NaN where absent, and visibility (n, 68)."""
    points, visible = [], []
    for face, calibration in zip(faces, calibrations, strict=True):
        contours = {name: attribute.contours for name, attribute in face.attributes.items()}
        found = find_landmarks(face.mask, contours, dict.fromkeys(contours, 1.0), calibration)
        own = [(np.nan, np.nan) if (xy := found[name].xy) is None else xy for name in NAMES]
        points.append(_at_512(np.array(own), face))
        visible.append([found[name].visible for name in NAMES])
    return np.array(points), np.array(visible)


def plain_extremes(face: Face) -> Points:
    """Return the mean of a mask's extreme pixels, (68, 2) at 512 x 512, for the points that have some."""
    points = np.full((len(NAMES), 2), np.nan)
    for number, (names, axis, end) in EXTREMES.items():
        inside = np.isin(range(len(CELEBAMASK_HQ)), [CELEBAMASK_HQ.index(name) for name in names])[face.mask]
        lines = np.flatnonzero(inside.any(0 if axis == "x" else 1))
        if len(lines):
            across = np.flatnonzero(inside[:, lines[end]] if axis == "x" else inside[lines[end]]).mean()
            points[number] = (lines[end], across) if axis == "x" else (across, lines[end])
    return _at_512(points, face)


def _at_512(points: npt.NDArray[np.floating], face: Face) -> Points:
    """Return points (n, 2) in pixels of a face's image as those of that image at 512 x 512."""
    scaled: Points = (points + 0.5) * SIZE / np.array(face.mask.shape[::-1]) - 0.5
    return scaled


def measure(detected: Sequence[Detected], true: Sequence[Face], predicted: Sequence[Face]) -> dict[str, Points]:
    """Return the errors (images, 68) in percent, by column; NaN where a point is absent."""
    calibrations = list(held_out([find_gaps(face, one) for face, one in zip(true, detected, strict=True)]))
    dlib, mediapipe = np.array([one.dlib for one in detected]), np.array([one.mediapipe for one in detected])
    span = np.array([one.span for one in detected])[:, None]
    found, visible = find_all(true, calibrations)
    ours = {"true": found, "true_visible": np.where(visible[..., None], found, np.nan)}
    ours["plain"] = np.array([plain_extremes(face) for face in true])
    if predicted:
        ours["predicted"] = find_all(predicted, calibrations)[0]
    pairs = {name: (points, dlib) for name, points in ours.items()} | {"detectors": (dlib, mediapipe)}
    pairs |= {f"{name}_mediapipe": (points, mediapipe) for name, points in ours.items() if name != "true_visible"}
    return {name: 100 * np.linalg.norm(a - b, axis=2) / span for name, (a, b) in pairs.items()}


def summarise(errors: dict[str, Points]) -> Iterator[dict[str, Any]]:
    """Yield a row for each of the 68 points, a mean over images whose true masks have it, and means over points.

    Images whose predicted masks lack the point are counted as `missed`.
    """
    there = np.isfinite(errors["true"])
    columns = {key: np.where(there, errors[key], np.nan) for key in COLUMNS if key in errors}
    means = pd.DataFrame({key: pd.DataFrame(values).mean() for key, values in columns.items()}).round(3)
    for number, name in enumerate(NAMES):
        row: dict[str, Any] = {"name": name, "number": number, "images": int(there[:, number].sum())}
        row |= means.loc[number].astype(object).where(means.loc[number].notna(), None)
        if "predicted" in errors:
            row["missed"] = int((there & np.isnan(errors["predicted"]))[:, number].sum())
        yield row
    for name, numbers in (("eye and mouth corners", CORNERS), ("all points", range(len(NAMES)))):
        rows = means.loc[list(numbers)]
        yield {"name": name} | rows.loc[:, rows.notna().all()].mean().round(3).to_dict()


def write_calibration(detected: Sequence[Detected]) -> None:
    """Fit on all faces, and write the package's file."""
    faces = true_faces(detected)
    widths, moves = fit([gap for face, one in zip(faces, detected, strict=True) for gap in find_gaps(face, one)])
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(numbers.tolist())}" for name, numbers in moves.items())
    write_file(CALIBRATION, f'{{\n  "widths": {json.dumps(widths)},\n  "moves": {{\n{rows}\n  }}\n}}\n')
    print(f"written to {CALIBRATION}: {len(moves)} kinds of landmarks, fitted on {len(faces)} faces")


def main(settings: Options) -> None:
    """Measure, print and write."""
    detected = read_detected(settings.root, settings.landmarks)
    if settings.fit:
        write_calibration(detected)
        return
    parser = FaceParser.from_checkpoint(settings.ckpt) if settings.ckpt else None
    seen = tqdm(detected, desc="predicting", unit="face")
    faces = [parser(one.sample.image, align="none")[0] for one in seen] if parser else []
    rows = list(summarise(measure(detected, true_faces(detected), faces)))
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    about = {"ckpt": settings.ckpt, "images": len(detected), "folds": FOLDS, "goal": {"points": CORNERS, "true": GOAL}}
    write_json(settings.out, stamp() | about | {"rows": rows})
    print(f"percent of the distance between the outer eye corners, {len(detected)} images; written to {settings.out}")


if __name__ == "__main__":
    run(Options, main, __doc__)

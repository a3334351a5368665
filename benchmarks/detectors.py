"""Two landmark detectors' points on the validation faces, and the faces of those images' own labels."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from facekp.classes import ATTRIBUTES, IGNORE_INDEX
from facekp.config import DataConfig
from facekp.data.layout import Sample, read_index
from facekp.data.sources import prepared_root
from facekp.errors import DataError
from facekp.files import expand
from facekp.images import read_label
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import Face, face_from_mask

Points = npt.NDArray[np.float64]
SIZE = 512
"""Side in pixels of the images that the detectors saw."""
DLIB, MEDIAPIPE = "val_dlib68.csv", "val_mediapipe478.csv"
TO_MEDIAPIPE = {36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 54: 291, 51: 0, 57: 17, 33: 2, 8: 152}
"""dlib's points that MediaPipe's mesh has too."""
RIGHT_EYE, LEFT_EYE = 36, 45
"""The outer corners, whose distance errors are divided by."""


@dataclass(frozen=True)
class Detected:
    """A validation image in which dlib found a face.

    Attributes:
        sample: image and label.
        dlib: (68, 2) pixels of the image at 512 x 512.
        mediapipe: (68, 2) the same, by dlib's numbers; NaN where MediaPipe has no such point or found no face.
    """

    sample: Sample
    dlib: Points
    mediapipe: Points

    @property
    def span(self) -> float:
        """Distance between dlib's outer eye corners, pixels at 512 x 512."""
        return float(np.hypot(*(self.dlib[LEFT_EYE] - self.dlib[RIGHT_EYE])))


def read_detected(root: str, folder: str | None) -> list[Detected]:
    """Return the images of the validation split that are listed in dlib's file, in the split's order.

    Args:
        root: the data set, in any layout that training reads.
        folder: holds `val_dlib68.csv` and `val_mediapipe478.csv`: columns `id,x0,y0,x1,...`, a row for each image with
            a face; None: `landmarks` beside `root`.

    Raises:
        DataError: a file that is missing or malformed, or lists none of the images.
    """
    path = expand(folder) if folder else expand(root).resolve().parent / "landmarks"
    dlib, mediapipe = _read_points(path / DLIB, 68), _read_points(path / MEDIAPIPE, 478)
    samples = [s for s in read_index(prepared_root(DataConfig(root=root)))["val"] if s.id in dlib]
    if not samples:
        raise DataError(f"landmarks: '{path / DLIB}' lists no image of the validation split of '{root}'; give its own")
    return [Detected(s, dlib[s.id], _by_dlibs_numbers(mediapipe.get(s.id))) for s in samples]


def _read_points(path: Path, count: int) -> dict[str, Points]:
    if not path.is_file():
        raise DataError(f"landmarks: '{path}' is missing; give the folder that holds it")
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row[0]: np.array(row[1:], np.float64) for row in list(csv.reader(file))[1:]}
    wrong = next((name for name, row in rows.items() if row.size != 2 * count), None)
    if wrong is not None:
        raise DataError(f"landmarks: '{path}' has {rows[wrong].size} numbers for image {wrong}, need {2 * count}")
    return {name: row.reshape(count, 2) for name, row in rows.items()}


def _by_dlibs_numbers(mesh: Points | None) -> Points:
    points = np.full((68, 2), np.nan)
    if mesh is not None:
        points[list(TO_MEDIAPIPE)] = mesh[list(TO_MEDIAPIPE.values())]
    return points


def true_faces(detected: list[Detected]) -> list[Face]:
    """Return the faces of the images' own labels."""
    return [_true_face(one.sample) for one in tqdm(detected, desc="tracing labels", unit="face")]


def _true_face(sample: Sample) -> Face:
    label = read_label(sample.label)
    label[label == IGNORE_INDEX] = 0
    return face_from_mask(label, dict.fromkeys(range(len(ATTRIBUTES)), 1.0), KeypointConfig())


def to_detectors_pixels(points: npt.NDArray[np.floating], face: Face) -> Points:
    """Return points (n, 2) of a face's image as pixels of that image at 512 x 512."""
    scale = SIZE / np.array(face.mask.shape[::-1])
    scaled: Points = (points + 0.5) * scale - 0.5
    return scaled


def from_detectors_pixels(points: Points, face: Face) -> Points:
    """Return pixels (n, 2) at 512 x 512 as those of a face's image."""
    scale = np.array(face.mask.shape[::-1]) / SIZE
    scaled: Points = (points + 0.5) * scale - 0.5
    return scaled

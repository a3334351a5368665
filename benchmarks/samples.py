"""Labelled faces, two landmark detectors' points on them, and labels as a backend."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.config import DataConfig
from facekp.data.layout import Sample, check_source, read_index
from facekp.data.sources import prepared_root
from facekp.errors import DataError
from facekp.files import expand
from facekp.images import UInt8Array, read_label
from facekp.keypoints.score_grid import Scores
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.choices import AUTO
from facekp.parsing.detectors import Detector
from facekp.parsing.face import Face, face_from_mask
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser, Stages
from facekp.settings import Settings, at_least, setting

Points = npt.NDArray[np.float64]
SIZE = 512  # side in pixels of the images that the detectors saw
DLIB, MEDIAPIPE = "val_dlib68.csv", "val_mediapipe478.csv"
TO_MEDIAPIPE = {36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 54: 291, 51: 0, 57: 17, 33: 2, 8: 152}
"""dlib's points that MediaPipe's mesh also has."""
STRIDE = 4


def read_samples(data: DataConfig, split: str, images: int | None = None) -> list[Sample]:
    """Return the first `images` samples of a split, or all; raise DataError if there are none."""
    check_source(data)
    samples = read_index(prepared_root(data))[split][:images]
    if not samples:
        raise DataError(f"split '{split}' has no images: choose another")
    return samples


@dataclass
class FaceOptions(Settings):
    """The faces to measure on, and the file to write."""

    data: DataConfig = field(default_factory=DataConfig)
    images: int | None = setting(None, "faces of the validation split, from the first; null: all", at_least(1))
    out: str | None = setting(None, "JSON file for the table")


@dataclass(frozen=True, eq=False)
class Detected:
    """A validation image with dlib's points (68, 2), in pixels at 512 x 512, and MediaPipe's, NaN where it has none."""

    sample: Sample
    dlib: Points
    mediapipe: Points

    @property
    def span(self) -> float:
        """Distance between dlib's outer eye corners, points 36 and 45, in pixels at 512 x 512."""
        return float(np.hypot(*(self.dlib[45] - self.dlib[36])))


def read_detected(root: str, folder: str | None) -> list[Detected]:
    """Return the images of the validation split that dlib's file lists, in the split's order.

    `folder`, by default `landmarks` beside `root`, holds both files: a row `id,x0,y0,x1,...` for each face.
    """
    path = expand(folder) if folder else expand(root).resolve().parent / "landmarks"
    dlib, mediapipe = _read_points(path / DLIB, 68), _read_points(path / MEDIAPIPE, 478)
    samples = [one for one in read_samples(DataConfig(root=root), "val") if one.id in dlib]
    if not samples:
        raise DataError(f"landmarks: '{path / DLIB}' lists no image of the validation split of '{root}'; give its own")
    detected = [Detected(one, dlib[one.id], np.full((68, 2), np.nan)) for one in samples]
    for one in detected:
        if one.sample.id in mediapipe:
            one.mediapipe[list(TO_MEDIAPIPE)] = mediapipe[one.sample.id][list(TO_MEDIAPIPE.values())]
    return detected


def _read_points(path: Path, count: int) -> dict[str, Points]:
    if not path.is_file():
        raise DataError(f"landmarks: '{path}' is missing; give the folder that holds it")
    rows = pd.read_csv(path, dtype={0: str}, index_col=0)
    if rows.shape[1] != 2 * count:
        raise DataError(f"landmarks: '{path}' has {rows.shape[1]} numbers for image {rows.index[0]}, need {2 * count}")
    return {str(name): row.reshape(count, 2) for name, row in zip(rows.index, rows.to_numpy(np.float64), strict=True)}


def face_of_label(label: UInt8Array) -> Face:
    """Return the face of a label (H, W) uint8; ignored pixels count as background."""
    mask = np.where(label == IGNORE_INDEX, np.uint8(0), label)
    return face_from_mask(mask, dict.fromkeys(range(len(CELEBAMASK_HQ)), 1.0), KeypointConfig())


def true_faces(detected: Sequence[Detected]) -> list[Face]:
    """Return the faces of the images' labels."""
    return [face_of_label(read_label(one.sample.label)) for one in tqdm(detected, desc="tracing labels", unit="face")]


class Labels:
    """A backend whose pixels are class ids; its scores are the classes' shares, one score map at stride 4."""

    size, batch, streams, classes = SIZE, 16, 1, CELEBAMASK_HQ

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `facekp.parsing.backends.Backend`."""
        n, height, width, _ = images.shape
        ids = images[..., 0].reshape(n, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
        shares = [(ids == i).mean((2, 4), dtype=np.float32) for i in range(len(CELEBAMASK_HQ))]
        return [np.multiply(10, np.stack(shares, axis=-1), dtype=np.float32)]


class LabelStages(Stages):
    """Stages that read the photo's `label` (H, W) uint8 in place of a network's scores."""

    label: UInt8Array

    def resized(self, image: UInt8Array) -> UInt8Array:
        """Return the whole label of a square photo as pixels."""
        label = cv2.resize(self.label, (self.size_for(len(image)),) * 2, interpolation=cv2.INTER_NEAREST_EXACT)
        return cv2.merge([label] * 3)

    def cut(self, image: UInt8Array, crop: Crop, share: float = 1) -> UInt8Array:
        """Return the label's crop as pixels."""
        how = {"flags": cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REFLECT_101}
        side = self.size_for(crop.side, share)
        return cv2.merge([cv2.warpAffine(self.label, crop.matrix(side), (side, side), **how)] * 3)


class LabelParser(FaceParser):
    """A parser with `LabelStages`."""

    stages: LabelStages

    def __init__(self, detector: Detector | str = AUTO) -> None:
        super().__init__(Labels(), detector=detector)
        self.stages = LabelStages(self.stages.backend, self.stages.keypoints, self.stages.detector)

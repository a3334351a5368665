"""The inputs of the figures: the scores of a class, the crop of a face, and a landmark detector's points."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from facekp.classes import ATTRIBUTES
from facekp.errors import DataError
from facekp.images import UInt8Array
from facekp.keypoints.curves import Points
from facekp.keypoints.score_grid import Scores
from facekp.models import fuse
from facekp.parsing.face_crop import Crop, cut
from facekp.parsing.inputs import MIN_SIDE
from facekp.parsing.parser import FaceParser

LANDMARK_FILES = "CSV with a row `id,x0,y0,x1,y1,...` a photo, CSV with a row `x,y` a point, or JSON [[x, y], ...]"


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The scores of one class in a photo.

    Attributes:
        name: the class, one of `facekp.classes.ATTRIBUTES`.
        heads: (h, w) float32 each, the score map of every head, finest first.
        total: (H, W) float32, the sum of the heads' maps, upsampled bilinearly to the network's input.
    """

    name: str
    heads: tuple[Scores, ...]
    total: Scores

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each head, pixels of the network's input."""
        return tuple(round(len(self.total) / len(scores)) for scores in self.heads)


def class_scores(parser: FaceParser, image: UInt8Array, name: str) -> ClassScores:
    """Run the network on a photo (H, W, 3) uint8 RGB and return the scores of the class `name`."""
    pixels = parser.stages.resized(image)
    heads = tuple(scores[0, ..., ATTRIBUTES.index(name)] for scores in parser.stages.backend(pixels[None]))
    total = fuse([torch.tensor(scores)[None, None] for scores in heads], pixels.shape[:2])[0, 0]
    return ClassScores(name, heads, total.numpy())


def crop_face(parser: FaceParser, image: UInt8Array, name: str) -> tuple[UInt8Array, Crop | None]:
    """Crop the largest face from a photo at its resolution, aligned as in CelebA-HQ.

    Args:
        parser: finds the face.
        image: (H, W, 3) uint8 RGB.
        name: name of the photo, for the message.

    Returns:
        The picture, (s, s, 3) uint8 RGB, and its square of the photo; the photo and None if it is aligned already.

    Raises:
        DataError: no face.
    """
    (scene,) = parser.stages.parse([parser.stages.look(image, "auto")])
    views = scene.confirmed().views
    if not views:
        raise DataError(f"image {name}: no face is found in it; align=none takes the whole photo as one")
    crop = views[0].crop
    return (image, None) if crop is None else (cut(image, crop, _side(crop)), crop)


def into_crop(points: Points, crop: Crop) -> Points:
    """Transform points (n, 2), pixels of the photo, to pixels of the picture that `crop_face` made of `crop`."""
    matrix = cv2.invertAffineTransform(crop.matrix(_side(crop)))
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _side(crop: Crop) -> int:
    """Return the side of a crop's picture, pixels: that in the photo, but at least what a parser accepts."""
    return max(MIN_SIDE, round(crop.side))


def read_landmarks(path: str | Path, photo: str | Path) -> Points:
    """Read a landmark detector's points of one photo.

    Args:
        path: a table with a header `id,x0,y0,x1,y1,...` and one row per photo, a CSV of `x,y` rows (a header is
            optional), or a JSON list of [x, y].
        photo: its name without folder and suffix is looked up in a table's column `id`; 22 and 00022 are equal.

    Returns:
        (n, 2) float32, x then y, in pixels of the picture that the detector saw.

    Raises:
        DataError: a file that is unreadable or of another form, or a table without the photo.
    """
    path, name = Path(path), Path(photo).stem
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            return _points(json.loads(text))
        rows = [row for row in csv.reader(text.splitlines()) if row]
        header = rows[0][0].strip().lower() if rows else ""
        if header != "id":
            return _points(rows[header == "x" :])
        for row in rows[1:]:
            if row[0] == name or (row[0].isdecimal() and name.isdecimal() and int(row[0]) == int(name)):
                return _points(np.reshape(row[1:], (-1, 2)))
    except OSError as error:
        raise DataError(f"landmarks '{path}': cannot be read ({error.strerror}); check the path") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"landmarks '{path}': holds no points ({error}); give {LANDMARK_FILES}") from error
    first = rows[1][0] if len(rows) > 1 else ""
    raise DataError(
        f"landmarks '{path}': no row for the photo '{name}' (its {len(rows) - 1} rows begin with '{first}'); "
        "add one, or leave landmarks= out"
    )


def _points(values: Sequence[Any] | Points) -> Points:
    points = np.asarray(values, np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"an array of shape {points.shape}, or with values that are no numbers")
    return points

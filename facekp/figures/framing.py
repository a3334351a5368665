"""The face of any photo, framed as in CelebA-HQ, for figures of it."""

import cv2
import numpy as np

from facekp.errors import DataError
from facekp.images import UInt8Array
from facekp.keypoints.curves import Points
from facekp.parsing.face_crop import Crop, cut
from facekp.parsing.inputs import MIN_SIDE
from facekp.parsing.parser import FaceParser


def frame_face(parser: FaceParser, image: UInt8Array, name: str) -> tuple[UInt8Array, Crop | None]:
    """Return the largest face in a photo as a picture of its own, at the photo's resolution.

    Args:
        parser: finds it.
        image: (H, W, 3) uint8 RGB.
        name: of the photo, for the message.

    Returns:
        The picture, (s, s, 3) uint8 RGB, and the square of the photo that it shows; the photo and None where it is
        framed so already.

    Raises:
        DataError: no face.
    """
    (scene,) = parser.stages.parse([parser.stages.look(image, "auto")])
    views = scene.confirmed().views
    if not views:
        raise DataError(f"image {name}: no face is found in it; align=none takes the whole photo as one")
    crop = views[0].crop
    return (image, None) if crop is None else (cut(image, crop, _side(crop)), crop)


def into_frame(points: Points, crop: Crop) -> Points:
    """Return points (n, 2), pixels of the photo, in pixels of the picture that `frame_face` made of `crop`."""
    matrix = cv2.invertAffineTransform(crop.matrix(_side(crop)))
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _side(crop: Crop) -> int:
    """Return the side of a crop's picture in pixels: the photo's own, but no less than a parser takes."""
    return max(MIN_SIDE, round(crop.side))

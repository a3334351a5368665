"""A parser that answers with known labels instead of a network's scores."""

import cv2
import numpy as np

from facekp.classes import NUM_CLASSES
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.parsing.choices import HAAR
from facekp.parsing.detectors import Detector
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser
from facekp.parsing.stages import Stages

STRIDE = 4
SURE = 10.0


class Labels:
    """A backend whose pixels are class ids: it gives each class's share of the pixels, one score map at stride 4."""

    size, batch, streams = 512, 16, 1

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the score maps; see `facekp.parsing.backends.Backend`."""
        n, height, width, _ = images.shape
        ids = images[..., 0].reshape(n, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
        shares = [(ids == i).mean((2, 4), dtype=np.float32) for i in range(NUM_CLASSES)]
        return [np.multiply(SURE, np.stack(shares, axis=-1), dtype=np.float32)]


class LabelStages(Stages):
    """Stages that see, in the picture that is parsed, its label.

    Attributes:
        label: (H, W) uint8, of the picture that is parsed next.
    """

    label: UInt8Array

    def resized(self, image: UInt8Array) -> UInt8Array:
        """Return the whole label, of a square picture, as pixels."""
        size = (self.backend.size, self.backend.size)
        return _as_pixels(cv2.resize(self.label, size, interpolation=cv2.INTER_NEAREST_EXACT))

    def cut(self, image: UInt8Array, crop: Crop) -> UInt8Array:
        """Return the label's crop as pixels."""
        flags, side = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, self.backend.size
        beyond = cv2.BORDER_REFLECT_101
        return _as_pixels(cv2.warpAffine(self.label, crop.matrix(side), (side, side), flags=flags, borderMode=beyond))


class LabelParser(FaceParser):
    """A parser that looks for faces in the picture, and sees its label there.

    Args:
        detector: searches for faces.
    """

    stages: LabelStages

    def __init__(self, detector: Detector | str = HAAR) -> None:
        super().__init__(Labels(), detector=detector)
        self.stages = LabelStages(self.stages.backend, self.stages.keypoints, self.stages.detector)


def _as_pixels(label: cv2.typing.MatLike) -> UInt8Array:
    return np.repeat(np.asarray(label, np.uint8)[..., None], 3, axis=2)

"""Where faces may be in a photo: crops to look at closer, by a detector of one's choice."""

from collections.abc import Iterator
from pathlib import Path
from threading import local
from typing import Final, Protocol

import cv2
import cv2.data
import numpy as np

from facekp.align import Crop, distinct, fit
from facekp.config import expand
from facekp.errors import ConfigError
from facekp.images import UInt8Array


class Detector(Protocol):
    """Looks for faces."""

    def __call__(self, image: UInt8Array, *, closer: bool = False) -> list[Crop]:
        """Return crops of a photo (H, W, 3) uint8 RGB that may frame a face, the surest first, no two of one place.

        `closer` is asked for where a first look led to no face.
        """
        ...


HAAR: Final = "haar"
REMEDY = f"give {HAAR}, or OpenCV's face_detection_yunet .onnx file"
CASCADE = "haarcascade_frontalface_alt2.xml"
SMALLEST_BOX = 24  # pixels; a little above the cascade's own 20
STEP = 1.1
NEIGHBOURS = 3
# Longer side in pixels of the copy that is searched, and the face's turn in degrees, clockwise as seen. The cascade
# knows faces turned by up to about 20 degrees; a smaller copy takes a fraction of the time.
FIRST_LOOK = ((640, 0), (480, -30), (480, 30))
SECOND_LOOK = ((1280, 0), (640, -30), (640, 30))
"""Where the first look led to no face."""
# python -m benchmarks.places data.root=...: medians of the cascade's boxes on 200 training images, as shares of the picture's side.
BOX_SIDE: Final = 0.636
BOX_MIDDLE: Final = 0.499 + 0.548j

YUNET_PARTS = ("r_eye", "l_eye", "nose")
"""The first of FaceDetectorYN's points; both corners of the mouth follow."""
YUNET_SCORE, YUNET_OVERLAP, YUNET_MOST = 0.6, 0.3, 5000
YUNET_LONGEST = 1280


def open_detector(name: str) -> Detector:
    """Return the detector of a name: "haar", or the path of a YuNet .onnx file.

    Raises:
        ConfigError: neither.
    """
    return HaarDetector() if name == HAAR else YuNetDetector(expand(name))


class HaarDetector:
    """OpenCV's cascade of Haar features, which comes with it; upright faces, and faces turned by up to 45 degrees.

    Reference: Viola and Jones 2001; OpenCV's `CascadeClassifier`.
    """

    def __init__(self) -> None:
        self._own = local()  # a cascade serves one thread at a time

    def __call__(self, image: UInt8Array, *, closer: bool = False) -> list[Crop]:
        """Return where faces may be; see `Detector`."""
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        look = SECOND_LOOK if closer else FIRST_LOOK
        found = [one for longest, angle in look for one in self._search(grey, longest, angle)]
        return distinct(crop for _, crop in sorted(found, key=lambda one: -one[0]))

    def _search(self, grey: UInt8Array, longest: int, angle: float) -> Iterator[tuple[float, Crop]]:
        """Yield the crops of a grey photo (H, W) whose faces are turned by `angle` degrees, and how sure each is."""
        height, width = grey.shape
        turn = np.exp(1j * np.radians(angle))
        scale = max(height, width) / longest
        # The turned copy has room for the corners. It is a crop of the photo too, so `Crop` knows the way back.
        sides = abs(width * turn.real) + abs(height * turn.imag), abs(width * turn.imag) + abs(height * turn.real)
        columns, rows = (max(SMALLEST_BOX, round(side / scale)) for side in sides)
        copy = Crop(complex(width, height) / 2 - complex(columns, rows) / 2 * scale * turn, scale * turn)
        small = round(width / scale) or 1, round(height / scale) or 1
        shrunk = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
        matrix = copy.matrix(1)
        matrix[:, 2] = (matrix[:, 2] + 0.5) / scale - 0.5
        matrix[:, :2] /= scale
        turned = cv2.warpAffine(shrunk, matrix, (columns, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        boxes, _, weights = self._cascade().detectMultiScale3(
            turned, STEP, NEIGHBOURS, minSize=(SMALLEST_BOX, SMALLEST_BOX), outputRejectLevels=True
        )
        for (x, y, side, _), weight in zip(boxes, weights, strict=True):
            edge = copy.edge * side / BOX_SIDE
            origin = copy.at(complex(x + side / 2, y + side / 2)) - edge * BOX_MIDDLE
            yield float(weight), Crop(origin, edge)

    def _cascade(self) -> cv2.CascadeClassifier:
        if not hasattr(self._own, "cascade"):
            self._own.cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / CASCADE))
        cascade: cv2.CascadeClassifier = self._own.cascade
        return cascade


class YuNetDetector:
    """OpenCV's `FaceDetectorYN` with a network that the user has; it gives eyes, nose and mouth at once.

    Reference: Wu et al. 2023, YuNet: a tiny millisecond-level face detector.

    Args:
        path: face_detection_yunet_*.onnx of OpenCV's model zoo.

    Raises:
        ConfigError: no such file, or not a network that OpenCV takes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = local()  # its input size is a state
        if not path.is_file():
            raise ConfigError(f"detector is '{path}', which is no file: {REMEDY}")
        self._network()

    def __call__(self, image: UInt8Array, *, closer: bool = False) -> list[Crop]:
        """Return where faces may be; see `Detector`. A closer look takes the photo at its own size."""
        scale = 1.0 if closer else max(1.0, max(image.shape[:2]) / YUNET_LONGEST)
        size = round(image.shape[1] / scale), round(image.shape[0] / scale)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale > 1 else image
        network = self._network()
        network.setInputSize(size)
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        # A row: box (4), five points (x, y), score.
        found = [] if rows is None else sorted(np.asarray(rows, np.float64), key=lambda row: -row[14])
        return distinct(self._crop((row[4:14:2] + 1j * row[5:14:2]) * scale) for row in found)

    def _crop(self, points: np.ndarray[tuple[int], np.dtype[np.complex128]]) -> Crop:
        named = dict(zip(YUNET_PARTS, points.tolist(), strict=False))
        return fit(named | {"mouth": complex(points[3:].mean())})[0]

    def _network(self) -> cv2.FaceDetectorYN:
        if not hasattr(self._own, "network"):
            try:
                self._own.network = cv2.FaceDetectorYN.create(
                    str(self._path), "", (320, 320), YUNET_SCORE, YUNET_OVERLAP, YUNET_MOST
                )
            except cv2.error as error:
                raise ConfigError(f"detector is '{self._path}', which OpenCV cannot load: {REMEDY}") from error
        network: cv2.FaceDetectorYN = self._own.network
        return network

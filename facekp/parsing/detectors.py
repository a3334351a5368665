"""Where faces may be in a photo: crops to look at closer, by a detector of one's choice."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import local
from typing import Final, Generic, Protocol, TypeVar

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt

from facekp.errors import ConfigError
from facekp.files import expand
from facekp.images import UInt8Array
from facekp.parsing.alignment import distinct, fit
from facekp.parsing.face_crop import Crop

T = TypeVar("T")


class Detector(Protocol):
    """Looks for faces."""

    def __call__(self, image: UInt8Array) -> list[Crop]:
        """Return crops of a photo (H, W, 3) uint8 RGB that may frame a face, the surest first, no two of one place.

        They may be a third too large or too small, and some may frame none: the network tells.
        """
        ...


HAAR: Final = "haar"
REMEDY = f"give {HAAR}, or OpenCV's face_detection_yunet .onnx file"
CASCADE = "haarcascade_frontalface_default.xml"
SMALLEST_BOX = 24  # pixels of the copy that is searched; a little above the cascade's own 20
STEP = 1.2
NEIGHBOURS = 2
LOOKS = ((960, 0), (480, -30), (480, 30))
"""Longer side in pixels of the copy that is searched, and the faces' turn in degrees, clockwise as seen.

The cascade knows faces turned by up to about 20 degrees."""
# python -m benchmarks.places data.root=... boxes=150: medians of the cascade's boxes on training images, as shares of
# their side.
BOX_SIDE: Final = 0.660
BOX_MIDDLE: Final = 0.501 + 0.551j

YUNET_PARTS = ("r_eye", "l_eye", "nose")
"""The first of FaceDetectorYN's points; both corners of the mouth follow."""
YUNET_SCORE, YUNET_OVERLAP, YUNET_MOST = 0.6, 0.3, 5000
YUNET_LONGEST = 1280


class _PerThread(Generic[T]):
    """Something that serves one thread at a time: each thread, and each process, makes its own when it needs it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._own = local()

    def __call__(self) -> T:
        if not hasattr(self._own, "it"):
            self._own.it = self._make()
        own: T = self._own.it
        return own

    def __reduce__(self) -> tuple[type, tuple[Callable[[], T]]]:
        return type(self), (self._make,)


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
        self._cascade = _PerThread(_open_cascade)

    def __call__(self, image: UInt8Array) -> list[Crop]:
        """Return where faces may be; see `Detector`."""
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        found = [one for longest, angle in LOOKS for one in self._search(grey, longest, angle)]
        return distinct(crop for _, crop in sorted(found, key=lambda one: -one[0]))

    def _search(self, grey: UInt8Array, longest: int, angle: float) -> Iterator[tuple[float, Crop]]:
        """Yield the crops of a grey photo (H, W) whose faces are turned by `angle` degrees, and how sure each is."""
        height, width = grey.shape
        scale = max(1.0, max(height, width) / longest)
        small = max(1, round(width / scale)), max(1, round(height / scale))
        shrunk = np.asarray(cv2.resize(grey, small, interpolation=cv2.INTER_AREA), np.uint8)
        copy = _turned(complex(*small), np.exp(1j * np.radians(angle)))
        searched = shrunk if angle == 0 else _copy(shrunk, copy)
        boxes, _, weights = self._cascade().detectMultiScale3(
            searched, STEP, NEIGHBOURS, minSize=(SMALLEST_BOX, SMALLEST_BOX), outputRejectLevels=True
        )
        for (x, y, side, _), weight in zip(boxes, weights, strict=True):
            edge = copy.edge * side / BOX_SIDE
            middle = copy.at(complex(x + side / 2, y + side / 2))
            yield float(weight), Crop((middle - edge * BOX_MIDDLE) * scale, edge * scale)


def _open_cascade() -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / CASCADE))


def _turned(size: complex, turn: complex) -> Crop:
    """Return the unit square at the corner of the upright copy that holds a picture, width + i height, turned."""
    room = complex(
        abs(size.real * turn.real) + abs(size.imag * turn.imag), abs(size.real * turn.imag) + abs(size.imag * turn.real)
    )
    return Crop(size / 2 - room / 2 * turn, turn)


def _copy(picture: UInt8Array, corner: Crop) -> UInt8Array:
    """Return the upright copy (h, w) of a picture (H, W) whose upper left pixel is `corner`; black around it."""
    height, width = picture.shape
    room = 2 * (complex(width, height) / 2 - corner.origin) / corner.edge
    size = max(1, round(room.real)), max(1, round(room.imag))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, corner.matrix(1), size, flags=flags), np.uint8)


class YuNetDetector:
    """OpenCV's `FaceDetectorYN` with a network that the user has; it gives eyes, nose and mouth at once.

    Reference: Wu et al. 2023, YuNet: a tiny millisecond-level face detector.

    Args:
        path: face_detection_yunet_*.onnx of OpenCV's model zoo.

    Raises:
        ConfigError: no such file, or not a network that OpenCV takes.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigError(f"detector is '{path}', which is no file: {REMEDY}")
        self._network = _PerThread(partial(_open_network, path))
        try:
            self(np.zeros((320, 320, 3), np.uint8))  # OpenCV opens any network, and finds out here
        except cv2.error as error:
            raise ConfigError(f"detector is '{path}', which is no YuNet: {REMEDY}") from error

    def __call__(self, image: UInt8Array) -> list[Crop]:
        """Return where faces may be; see `Detector`."""
        scale = max(1.0, max(image.shape[:2]) / YUNET_LONGEST)
        size = max(1, round(image.shape[1] / scale)), max(1, round(image.shape[0] / scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        network = self._network()
        network.setInputSize(size)
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        # A row: box (4), five points (x, y), score.
        found = [] if rows is None else sorted(np.asarray(rows, np.float64), key=lambda row: -row[14])
        return distinct(_crop_of((row[4:14:2] + 1j * row[5:14:2]) * scale) for row in found)


def _open_network(path: Path) -> cv2.FaceDetectorYN:
    try:
        return cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE, YUNET_OVERLAP, YUNET_MOST)
    except cv2.error as error:
        raise ConfigError(f"detector is '{path}', which OpenCV cannot load: {REMEDY}") from error


def _crop_of(points: npt.NDArray[np.complex128]) -> Crop:
    """Return the crop of a face from FaceDetectorYN's five points of it."""
    named = dict(zip(YUNET_PARTS, points.tolist(), strict=False))
    return fit(named | {"mouth": complex(points[3:].mean())})[0]

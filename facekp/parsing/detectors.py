"""Face detectors, which propose crops of a photo for the network to check."""

import sys
from collections.abc import Callable
from pathlib import Path
from threading import local
from typing import Final, TypeVar

import cv2
import numpy as np

from facekp.errors import ConfigError
from facekp.files import expand
from facekp.images import UInt8Array, cascade_file
from facekp.parsing.alignment import distinct, fit_five
from facekp.parsing.centerface import INSTALL, CenterFaceDetector, find_centerface
from facekp.parsing.choices import AUTO, CENTERFACE, DETECTORS, HAAR
from facekp.parsing.face_crop import Crop

T = TypeVar("T")

REMEDY = f"give {', '.join(DETECTORS)}, or OpenCV's face_detection_yunet .onnx file"
CASCADE = "haarcascade_frontalface_default.xml"
MIN_BOX, SCALE_STEP, MIN_NEIGHBOURS = 24, 1.2, 2
"""Search parameters of the cascade. The box is in pixels of the resized photo, slightly above the cascade's own 20."""
SEARCHES = ((960, 0), (480, -30), (480, 30))
"""Longer side in pixels of the resized photo, and rotation of the faces in degrees, clockwise as seen.

The cascade finds faces rotated by up to about 20 degrees."""
BOX_SIDE: Final = 0.660
BOX_MIDDLE: Final = 0.501 + 0.551j
"""Side and centre of the cascade's boxes, as shares of the crop's side: medians on 150 training images."""

YUNET_MIN_SCORE, YUNET_MAX_OVERLAP, YUNET_MAX_FACES = 0.6, 0.3, 5000
YUNET_MAX_SIDE = 1280


Detector = Callable[[UInt8Array], list[Crop]]
"""Returns distinct candidate crops of a photo (H, W, 3) uint8 RGB, the most certain first.

They may be a third too large or too small, and some may show no face: the network decides."""


def open_detector(name: str, *, openvino: bool = False) -> Detector:
    """Open a detector: "auto", "centerface", "haar", or the path of a YuNet .onnx file.

    "auto" selects CenterFace if its network is installed, else the cascade, which tells at its first use how to
    install CenterFace. With `openvino`, OpenVINO runs CenterFace; OpenCV runs everything else.

    Raises:
        ConfigError: any other name or file.
    """
    if name == CENTERFACE or (name == AUTO and find_centerface()):
        return CenterFaceDetector(openvino=openvino)
    if name == AUTO:
        return HaarDetector(f"detector: OpenCV's cascade, which misses more faces than CenterFace; {INSTALL}")
    return HaarDetector() if name == HAAR else YuNetDetector(expand(name))


_opened = local()


def _opened_here(open_file: Callable[[str], T], path: Path) -> T:
    """Return `open_file(path)`, cached per thread because OpenCV's detectors serve one thread at a time."""
    own: dict[str, T] = vars(_opened)
    if str(path) not in own:
        own[str(path)] = open_file(str(path))
    return own[str(path)]


class HaarDetector:
    """OpenCV's cascade of Haar features, for upright faces and faces rotated by up to 45 degrees.

    Reference: Viola and Jones 2001; OpenCV's `CascadeClassifier`.

    Args:
        hint: a line to print at the first use.

    Raises:
        ConfigError: this OpenCV has no cascades.
    """

    def __init__(self, hint: str = "") -> None:
        self.hint = hint
        self.path = cascade_file(CASCADE)

    def __call__(self, image: UInt8Array) -> list[Crop]:
        """Return crops that may show faces; see `Detector`."""
        if self.hint:
            print(self.hint, file=sys.stderr)
            self.hint = ""
        grey, found = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), []
        cascade = _opened_here(cv2.CascadeClassifier, self.path)
        for longest, angle in SEARCHES:
            scale = max(1.0, max(grey.shape) / longest)
            width, height = (max(1, round(side / scale)) for side in grey.shape[::-1])
            small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
            # The rotated copy, in which such faces are upright, holds the whole photo on black.
            turn = np.exp(1j * np.radians(angle))
            across, down = abs(turn.real), abs(turn.imag)
            room = complex(width * across + height * down, width * down + height * across)
            pixel = Crop(complex(width, height) / 2 - room / 2 * turn, turn)  # the copy's first pixel
            if angle:
                size = max(1, round(room.real)), max(1, round(room.imag))
                small = cv2.warpAffine(small, pixel.matrix(1), size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            boxes, _, weights = cascade.detectMultiScale3(
                small, SCALE_STEP, MIN_NEIGHBOURS, minSize=(MIN_BOX, MIN_BOX), outputRejectLevels=True
            )
            for (x, y, side, _), weight in zip(boxes, weights, strict=True):
                edge = pixel.edge * side / BOX_SIDE
                middle = pixel.at(complex(x + side / 2, y + side / 2))
                found.append((float(weight), Crop((middle - edge * BOX_MIDDLE) * scale, edge * scale)))
        return distinct(crop for _, crop in sorted(found, key=lambda one: -one[0]))


class YuNetDetector:
    """OpenCV's `FaceDetectorYN` with a network that the user provides; it finds eyes, nose and mouth as well.

    Reference: Wu et al. 2023, YuNet: a tiny millisecond-level face detector.

    Args:
        path: face_detection_yunet_*.onnx of OpenCV's model zoo.

    Raises:
        ConfigError: no such file, or not a network that OpenCV can run as YuNet.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigError(f"detector is '{path}', which is not a file: {REMEDY}")
        self.path = path
        try:
            self(np.zeros((320, 320, 3), np.uint8))  # OpenCV opens any network and only fails when running it
        except cv2.error as error:
            raise ConfigError(f"detector is '{path}', which is not a YuNet network: {REMEDY}") from error

    def __call__(self, image: UInt8Array) -> list[Crop]:
        """Return crops that may show faces; see `Detector`."""
        scale = max(1.0, max(image.shape[:2]) / YUNET_MAX_SIDE)
        size = max(1, round(image.shape[1] / scale)), max(1, round(image.shape[0] / scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        network = _opened_here(_open_yunet, self.path)
        network.setInputSize(size)
        _, rows = network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        crops = []
        # A row: box (4), five points (x, y), score.
        for row in [] if rows is None else sorted(np.asarray(rows, np.float64), key=lambda row: -row[14]):
            crops.append(fit_five(((row[4:14:2] + 1j * row[5:14:2]) * scale).tolist()))
        return distinct(crops)


def _open_yunet(path: str) -> cv2.FaceDetectorYN:
    try:
        return cv2.FaceDetectorYN.create(path, "", (320, 320), YUNET_MIN_SCORE, YUNET_MAX_OVERLAP, YUNET_MAX_FACES)
    except cv2.error as error:
        raise ConfigError(f"detector is '{path}', which OpenCV cannot load: {REMEDY}") from error

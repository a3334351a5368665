"""From a photo to a `Face`: the way in for whoever uses a trained network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from facekp.align import Crop, blank_beyond, cut, distinct, place, refine
from facekp.backends import Backend, open_backend
from facekp.detect import HAAR, Detector, open_detector
from facekp.errors import ConfigError, DataError
from facekp.face import Face, face_from_mask
from facekp.images import UInt8Array, read_image, resize, to_rgb
from facekp.keypoints import KeypointConfig
from facekp.models.heads import STRIDE
from facekp.upsample import Scores, argmax_at, sum_on_grid

ImageLike = str | Path | Image.Image | UInt8Array
Align = Literal["none", "auto"]
ALIGNS: tuple[str, ...] = get_args(Align)
MIN_SIDE = 32
"""Images with a side below this many pixels are refused."""
LOOK_SIDE = 256
"""Pixels at which a crop's mask is made to find eyes, nose and mouth in it."""


@dataclass(frozen=True)
class View:
    """A part of a photo as the network sees it.

    Attributes:
        crop: which part; None: the whole photo.
        pixels: (h, w, 3) uint8 RGB at the network's size.
        scores: what the network says of it, (h', w', 19) float32 each; empty before it ran.
    """

    crop: Crop | None
    pixels: UInt8Array
    scores: tuple[Scores, ...] = ()


@dataclass(frozen=True)
class Photo:
    """A photo, (H, W, 3) uint8 RGB, and the views of it that are faces, or may be; the largest or surest first."""

    image: UInt8Array
    views: tuple[View, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


class FaceParser:
    """Parse photos with a trained network.

    Args:
        backend: what runs the network; `from_checkpoint` opens one.
        keypoints: how many key points, and which parts are too small.
        detector: where `align="auto"` looks for faces; None: OpenCV's cascade.

    Attributes:
        size: pixels that the longer side of a photo is brought to; the shorter side follows, to a multiple of 32.
    """

    def __init__(
        self, backend: Backend, keypoints: KeypointConfig | None = None, detector: Detector | None = None
    ) -> None:
        self.backend = backend
        self.size = backend.size
        self.keypoints = keypoints or KeypointConfig()
        self.detector = detector or open_detector(HAAR)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str = "auto",
        backend: str = "auto",
        keypoints: KeypointConfig | None = None,
        detector: str = HAAR,
    ) -> "FaceParser":
        """Load a checkpoint that training wrote, or an ONNX file that `facekp.export` made of one.

        Args:
            path: that file.
            device: where torch runs.
            backend: torch, onnx or openvino; auto: by the file's ending.
            keypoints: how many key points, and which parts are too small.
            detector: "haar", or the path of a YuNet .onnx file.

        Raises:
            CheckpointError: a file that is neither.
            ConfigError: a device that this machine does not have, or a backend or detector that cannot be used.
        """
        return cls(open_backend(path, backend, device), keypoints, open_detector(detector))

    def __call__(self, image: ImageLike | Sequence[ImageLike], align: Align = "none") -> list[Face]:
        """Parse one image, or several that each are framed as in CelebA-HQ.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 RGB array; or with align="none" a list of them.
            align: "none": the whole image is taken as one face, framed as in CelebA-HQ; "auto": faces are looked for,
                at any place, of any size and turned by up to about 45 degrees.

        Returns:
            With "none" one face for each image, in their order; with "auto" the faces of the image, largest first, or
            an empty list. All in pixels of their image.

        Raises:
            DataError: an image that cannot be read, is smaller than 32 pixels or is no RGB array.
            ConfigError: another `align`, or "auto" and a list, whose faces could not be told apart.
        """
        if align not in ALIGNS:
            raise ConfigError(f"align is {align!r}: choose one of {', '.join(ALIGNS)}")
        several = isinstance(image, Sequence) and not isinstance(image, str)
        if several and align == "auto":
            raise ConfigError("align is 'auto' and image is a list: give one image a call, so that its faces are known")
        images = image if isinstance(image, Sequence) and not isinstance(image, str) else [image]
        photos = (self.look(to_array(one), align) for one in images)
        return [face for photo in photos for face in self.faces(self.run([photo], align)[0])]

    def look(self, image: UInt8Array, align: Align) -> Photo:
        """Return a photo with the views of it that may be faces; at least one."""
        photo = Photo(image, ())
        if align == "none":
            return self._viewed(photo, [None])
        return self._viewed(photo, self.detector(image) or [_middle(photo.size)])

    def run(self, photos: Sequence[Photo], align: Align) -> list[Photo]:
        """Let the network see photos whose views have one size.

        Args:
            photos: what `look` returned.
            align: the same as for `look`. "auto": views that show no face are dropped, the others are cropped anew to
                the eyes, nose and mouth that are seen there, and the network sees them again. Where no view shows
                one, the photo is looked at closer first.

        Returns:
            The photos with the scores of their faces.
        """
        seen = self._scored(photos)
        if align == "none":
            return seen
        found = [self._refined(photo) for photo in seen]
        closer = iter(self._scored([self._closer(photo) for photo in found if not photo.views]))
        return self._scored([photo if photo.views else self._refined(next(closer)) for photo in found])

    def faces(self, photo: Photo) -> list[Face]:
        """Turn the scores of a photo's views into faces."""
        return [self._face(view, photo.size) for view in photo.views]

    def prepare(self, image: UInt8Array) -> UInt8Array:
        """Return `image` (H, W, 3) uint8 RGB at the size that the network sees."""
        steps = self.size / max(image.shape[:2]) / STRIDE
        height, width = (max(1, round(side * steps)) * STRIDE for side in image.shape[:2])
        # A copy where nothing was resized: torch takes no read-only array, as that of a PIL image is.
        return np.require(resize(image, (height, width)), requirements=["C", "W"])

    def cut(self, image: UInt8Array, crop: Crop) -> UInt8Array:
        """Return a crop of `image` (H, W, 3) uint8 RGB at the size that the network sees."""
        return cut(image, crop, self.size)

    def face(self, scores: Sequence[Scores], size: tuple[int, int]) -> Face:
        """Turn the score maps of one image, (h, w, 19) float32 each, into a face in an image of `size` (H, W)."""
        grid = sum_on_grid(scores)
        # Every second point is the centre of a pixel of the finest map.
        return face_from_mask(argmax_at(grid, size), _confidence(grid[1::2, 1::2]), self.keypoints)

    def _viewed(self, photo: Photo, crops: Sequence[Crop | None]) -> Photo:
        """Return a photo with views of these crops; what was seen already keeps its scores."""
        known = {view.crop: view for view in photo.views}
        views = []
        for crop in crops:
            # Framed as in CelebA-HQ already: the photo itself is better than what the detector makes of it.
            own = None if crop is None or crop.is_whole(photo.size) else crop
            pixels = self.prepare(photo.image) if own is None else self.cut(photo.image, own)
            views.append(known.get(own) or View(own, pixels))
        return replace(photo, views=tuple(views))

    def _scored(self, photos: Sequence[Photo]) -> list[Photo]:
        """Run the network on the views that have no scores yet, in batches."""
        new = iter([view for photo in photos for view in photo.views if not view.scores])
        fresh: list[View] = []
        while batch := list(islice(new, self.backend.batch)):
            maps = self.backend(np.stack([view.pixels for view in batch]))
            fresh += [replace(view, scores=tuple(m[i] for m in maps)) for i, view in enumerate(batch)]
        seen = iter(fresh)
        return [replace(p, views=tuple(view if view.scores else next(seen) for view in p.views)) for p in photos]

    def _closer(self, photo: Photo) -> Photo:
        # A portrait fills its picture's middle, whatever the detector says.
        return self._viewed(photo, [*self.detector(photo.image, closer=True), _middle(photo.size)])

    def _refined(self, photo: Photo) -> Photo:
        """Return a photo with the views of its faces, the largest first, by what was seen in its views so far."""
        crops = []
        for view in photo.views:
            crop = view.crop or Crop(0, photo.size[1])
            mask = argmax_at(sum_on_grid(view.scores), (LOOK_SIDE, LOOK_SIDE))
            if refined := refine(crop, blank_beyond(mask, crop, photo.size)):
                crops.append(refined)
        return self._viewed(photo, distinct(sorted(crops, key=lambda crop: -crop.side)))

    def _face(self, view: View, size: tuple[int, int]) -> Face:
        if view.crop is None:
            return self.face(view.scores, size)
        grid = sum_on_grid(view.scores)
        # As fine as the photo, so that no pixel of it is lost, and as the network's input, for smooth outlines.
        side = max(self.size, math.ceil(view.crop.side))
        mask = blank_beyond(argmax_at(grid, (side, side)), view.crop, size)
        return place(face_from_mask(mask, _confidence(grid[1::2, 1::2]), self.keypoints), view.crop, size)


def _middle(size: tuple[int, int]) -> Crop:
    height, width = size
    return Crop.around(complex(width, height) / 2, min(width, height))


def to_array(image: ImageLike) -> UInt8Array:
    """Return `image` as an (H, W, 3) uint8 RGB array.

    Raises:
        DataError: see `FaceParser.__call__`.
    """
    if isinstance(image, str | Path):
        array, name = read_image(image), f"image {image}"
    elif isinstance(image, Image.Image):
        array, name = to_rgb(image), "image"
    else:
        array, name = np.asarray(image), "image"
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise DataError(f"{name}: {array.dtype} array of shape {array.shape}, need (H, W, 3) uint8 RGB")
    height, width = array.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DataError(f"{name}: {width} x {height} pixels, need at least {MIN_SIDE} x {MIN_SIDE}")
    return array


def _confidence(scores: Scores) -> dict[int, float]:
    """Return each class's mean probability over its own mask, at the resolution of scores (h, w, 19).

    A class without a mask there can still win between two pixels of the enlarged scores; it gets its highest
    probability.
    """
    probability = np.exp(scores - scores.max(2, keepdims=True))
    probability /= probability.sum(2, keepdims=True)
    winner = scores.argmax(2)
    highest = probability.max((0, 1))
    area = np.bincount(winner.ravel(), minlength=scores.shape[2])
    total = np.bincount(winner.ravel(), probability.max(2).ravel(), minlength=scores.shape[2])
    return {i: float(total[i] / area[i] if area[i] else highest[i]) for i in range(scores.shape[2])}

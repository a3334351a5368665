"""From a photo to a `Face`: the way in for whoever uses a trained network."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from facekp.errors import ConfigError
from facekp.images import UInt8Array, resize
from facekp.keypoints.resample import KeypointConfig
from facekp.keypoints.score_grid import Scores, argmax_at, sum_on_grid
from facekp.models.heads import STRIDE
from facekp.parsing.alignment import distinct
from facekp.parsing.backends import Backend, open_backend
from facekp.parsing.detectors import HAAR, Detector, open_detector
from facekp.parsing.face import Face, face_from_mask
from facekp.parsing.face_crop import Crop, cut
from facekp.parsing.inputs import ImageLike, as_images, to_array
from facekp.parsing.placing import give_way, place
from facekp.parsing.scenes import Scene, View, confirmed, faces_in, in_batches, score
from facekp.weights.load import SHIPPED

Align = Literal["none", "auto"]
ALIGNS: Final[tuple[str, ...]] = get_args(Align)
WHOLE: Final = 0.1
"""A crop whose corners are this near to the photo's own, on average, as a share of the side, is the photo."""


class FaceParser:
    """Parse photos with a trained network.

    Args:
        backend: what runs the network; `from_checkpoint` opens one. None: the weights that facekp ships, in torch.
        keypoints: how many key points, and which parts are too small.
        detector: what looks for faces with align="auto"; None: OpenCV's cascade.

    Attributes:
        size: pixels that the longer side of a photo is brought to; the shorter side follows, to a multiple of 32. Of a
            crop, both.

    Example:
        With random weights, on a drawn face; `FaceParser()` has facekp's own weights, which are for non-commercial
        research and education only, and `FaceParser.from_checkpoint("best.ckpt")` others.

        >>> import torch
        >>> from facekp.parsing.backends import TorchBackend
        >>> from facekp.data.synthetic.write import draw_face
        >>> from facekp.models import build_model
        >>> parser = FaceParser(TorchBackend(build_model("resnet18"), 64, torch.device("cpu")))
        >>> (face,) = parser(draw_face(0, 96).image)
        >>> face.mask.shape, face.mask.dtype
        ((96, 96), dtype('uint8'))
        >>> all(points.shape == (32, 2) for points in face.keypoints.values())
        True
        >>> len(parser(torch.rand(5, 3, 64, 48)))  # a batch gives a face for each of its images
        5
    """

    def __init__(
        self, backend: Backend | None = None, keypoints: KeypointConfig | None = None, detector: Detector | None = None
    ) -> None:
        self.backend = backend or open_backend()
        self.size = self.backend.size
        self.keypoints = keypoints or KeypointConfig()
        self.detector = detector or open_detector(HAAR)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path = SHIPPED,
        device: str = "auto",
        backend: str = "auto",
        keypoints: KeypointConfig | None = None,
        detector: str = HAAR,
    ) -> "FaceParser":
        """Load a checkpoint that training wrote, or an ONNX file that `facekp.export.onnx` made of one.

        Args:
            path: that file, or "shipped": the weights that facekp ships.
            device: where torch runs; auto: CUDA where there is one.
            backend: torch, onnx or openvino; auto: by the file's ending.
            keypoints: how many key points, and which parts are too small.
            detector: "haar", or the path of OpenCV's face_detection_yunet .onnx file.

        Raises:
            CheckpointError: a file that is neither.
            ConfigError: a device that this machine does not have, or a backend or detector that does not fit.
        """
        return cls(open_backend(path, backend, device), keypoints, open_detector(detector))

    def __call__(self, image: ImageLike | Sequence[ImageLike], align: Align = "none") -> list[Face]:
        """Parse one image, or several that are each framed as in CelebA-HQ.

        Args:
            image: a path, a PIL image, an array (H, W, 3), a tensor (3, H, W), or with align="none" several: a list of
                them, an array (N, H, W, 3) or a tensor (N, 3, H, W). `inputs.to_array` says what else, and which
                numbers.
            align: "none": the whole image is taken as one face, framed as in CelebA-HQ. "auto": faces are looked for,
                anywhere, of any size, and turned by up to about 45 degrees; each is framed so, and put back.

        Returns:
            With "none" one face for each image, in their order; with "auto" the faces of the image, the largest first,
            or an empty list where there is none. All in the pixels of their image.

        Raises:
            DataError: an image that cannot be read, is smaller than 32 pixels, or has another shape or other numbers.
            ConfigError: another `align`, or "auto" and several images, whose faces could not be told apart.
        """
        if align not in ALIGNS:
            raise ConfigError(f"align is {align!r}: choose one of {', '.join(ALIGNS)}")
        images = as_images(image)
        if align == "auto" and len(images) != 1:
            raise ConfigError(f"align is 'auto' and {len(images)} images are given: give one a call")
        scenes = (self.look(to_array(one), align) for one in images)
        alike = in_batches(scenes, self.backend.batch, lambda scene: scene.shape)
        return [face for batch in alike for scene in self.parse(batch) for face in self.faces(scene)]

    def look(self, image: UInt8Array, align: Align = "none") -> Scene:
        """Return a photo (H, W, 3) uint8 RGB with the views of it that may be faces; at least one."""
        if align == "none":
            return Scene(image, (View(None, self.prepare(image)),))
        scene = Scene(image, searched=True)
        # A portrait fills the middle of its photo, whatever the detector says.
        return self._viewed(scene, distinct([*self.detector(image), Crop.central(scene.size)]))

    def parse(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Return scenes that `look` gave, all of one shape, with the views of their faces and the network's scores."""
        return self.score([self.refine(scene) for scene in self.score(scenes)])

    def score(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Run the network on the views without scores of scenes of one shape."""
        return score(self.backend, scenes)

    def refine(self, scene: Scene) -> Scene:
        """Drop the views that the network saw no face in, and frame the others by the eyes, nose and mouth it saw."""
        return self._viewed(scene, faces_in(scene)) if scene.searched else scene

    def faces(self, scene: Scene) -> list[Face]:
        """Turn the scores of a scene's views into faces, the largest first."""
        scene = confirmed(scene) if scene.searched else scene
        return [self._face(scene, number) for number in range(len(scene.views))]

    def prepare(self, image: UInt8Array) -> UInt8Array:
        """Return `image` (H, W, 3) uint8 RGB at the size that the network sees."""
        steps = self.size / max(image.shape[:2]) / STRIDE
        height, width = (max(1, round(side * steps)) * STRIDE for side in image.shape[:2])
        # A copy where nothing was resized: torch takes no read-only array, as that of a PIL image is.
        return np.require(resize(image, (height, width)), requirements=["C", "W"])

    def face(self, scores: Sequence[Scores], size: tuple[int, int]) -> Face:
        """Turn the score maps of one image, (h, w, 19) float32 each, into a face in an image of `size` (H, W)."""
        grid = sum_on_grid(scores)
        # Every second point is the centre of a pixel of the finest map.
        return face_from_mask(argmax_at(grid, size), _confidence(grid[1::2, 1::2]), self.keypoints, grid)

    def cut(self, image: UInt8Array, crop: Crop) -> UInt8Array:
        """Return a crop of `image` (H, W, 3) uint8 RGB at the size that the network sees."""
        return cut(image, crop, self.size)

    def _viewed(self, scene: Scene, crops: Sequence[Crop]) -> Scene:
        """Return a scene with views of these crops; what was seen already keeps its scores."""
        views = {view.crop: view for view in scene.views}
        whole = Crop.central(scene.size)
        square = scene.size[0] == scene.size[1]
        # What is framed as in CelebA-HQ already is taken as it is.
        wanted = [None if square and crop.away(whole) < WHOLE else crop for crop in crops]
        for crop in (crop for crop in wanted if crop not in views):
            views[crop] = View(crop, self.cut(scene.image, crop) if crop else self.prepare(scene.image))
        return replace(scene, views=tuple(views[crop] for crop in wanted))

    def _face(self, scene: Scene, number: int) -> Face:
        view = scene.views[number]
        if view.crop is None and len(scene.views) == 1:
            return self.face(view.scores, scene.size)
        crops = [view.crop or Crop.central(scene.size) for view in scene.views]
        own = crops.pop(number)
        grid = give_way(sum_on_grid(view.scores), own, crops)
        # As fine as the photo, so that no pixel of it is lost, and as the network's input, for smooth outlines.
        side = max(self.size, min(math.ceil(own.side), max(scene.size)))
        face = face_from_mask(argmax_at(grid, (side, side)), _confidence(grid[1::2, 1::2]), self.keypoints, grid)
        return place(face, own, scene.size, self.keypoints)


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

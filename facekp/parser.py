"""From a photo to a `Face`: the way in for whoever uses a trained network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from facekp.backends import Backend, open_backend
from facekp.errors import ConfigError
from facekp.face import Face, face_from_mask
from facekp.images import UInt8Array, resize
from facekp.inputs import ImageLike, as_images, to_array
from facekp.keypoints import KeypointConfig
from facekp.models.heads import STRIDE
from facekp.upsample import Scores, argmax_at, sum_on_grid


class FaceParser:
    """Parse photos with a trained network.

    Args:
        backend: what runs the network; `from_checkpoint` opens one.
        keypoints: how many key points, and which parts are too small.

    Attributes:
        size: pixels that the longer side of a photo is brought to; the shorter side follows, to a multiple of 32.

    Example:
        With random weights, on a drawn face; `FaceParser.from_checkpoint("best.ckpt")` loads what was trained.

        >>> import torch
        >>> from facekp.backends import TorchBackend
        >>> from facekp.data.synthetic import draw_face
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

    def __init__(self, backend: Backend, keypoints: KeypointConfig | None = None) -> None:
        self.backend = backend
        self.size = backend.size
        self.keypoints = keypoints or KeypointConfig()

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str = "auto",
        backend: str = "auto",
        keypoints: KeypointConfig | None = None,
    ) -> "FaceParser":
        """Load a checkpoint that training wrote, or an ONNX file that `facekp.export` made of one.

        Raises:
            CheckpointError: a file that is neither.
            ConfigError: a device that this machine does not have, or a backend that does not fit.
        """
        return cls(open_backend(path, backend, device), keypoints)

    def __call__(self, image: ImageLike | Sequence[ImageLike], align: Literal["none"] = "none") -> list[Face]:
        """Parse one image or several.

        Args:
            image: a path, a PIL image, an array (H, W, 3), a tensor (3, H, W), or several: a list of them, an array
                (N, H, W, 3) or a tensor (N, 3, H, W). `facekp.inputs.to_array` says what else, and which numbers.
            align: "none": the whole image is taken as one face, framed as in CelebA-HQ.

        Returns:
            One face for each image, in their order, in the pixels of its image.

        Raises:
            DataError: an image that cannot be read, is smaller than 32 pixels, or has another shape or other numbers.
            ConfigError: another `align`.
        """
        if align != "none":
            raise ConfigError(f"align is {align!r}: this version knows none, so crop the photo to the face")
        return [self._parse(to_array(one)) for one in as_images(image)]

    def _parse(self, image: UInt8Array) -> Face:
        return self.face([s[0] for s in self.backend(self.prepare(image)[None])], image.shape[:2])

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

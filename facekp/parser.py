"""From a photo to a `Face`: the way in for whoever uses a trained network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from facekp.checkpoint import load_network
from facekp.data.transforms import normalise
from facekp.errors import ConfigError, DataError
from facekp.face import Face, face_from_mask
from facekp.images import UInt8Array, read_image, to_rgb
from facekp.keypoints import KeypointConfig
from facekp.models import fuse
from facekp.models.heads import STRIDE

ImageLike = str | Path | Image.Image | UInt8Array
MIN_SIDE = 32
"""Images with a side below this many pixels are refused."""


class FaceParser:
    """Parse photos with a trained network.

    Args:
        net: a network of `facekp.models`, in evaluation mode.
        size: pixels that the longer side of a photo is brought to; the shorter side follows, to a multiple of 32.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...
        keypoints: how many key points, and which parts are too small.

    Raises:
        ConfigError: a device that this machine does not have.
    """

    def __init__(
        self, net: nn.Module, size: int, device: str = "auto", keypoints: KeypointConfig | None = None
    ) -> None:
        self.device = resolve_device(device)
        self.net = net.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.size = size
        self.keypoints = keypoints or KeypointConfig()

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, device: str = "auto", keypoints: KeypointConfig | None = None
    ) -> "FaceParser":
        """Load a checkpoint that training wrote.

        Raises:
            CheckpointError: a file that is not one.
            ConfigError: a device that this machine does not have.
        """
        net, about = load_network(path)
        return cls(net, int(about["size"]), device, keypoints)

    def __call__(self, image: ImageLike | Sequence[ImageLike], align: Literal["none"] = "none") -> list[Face]:
        """Parse one image or several.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 RGB array, or a list of them.
            align: "none": the whole image is taken as one face, framed as in CelebA-HQ.

        Returns:
            One face for each image, in their order, in the pixels of its image.

        Raises:
            DataError: an image that cannot be read, is smaller than 32 pixels or is no RGB array.
            ConfigError: another `align`.
        """
        if align != "none":
            raise ConfigError(f"align is {align!r}: this version knows none, so crop the photo to the face")
        images = image if isinstance(image, Sequence) and not isinstance(image, str) else [image]
        return [self._parse(to_array(one)) for one in images]

    def _parse(self, image: UInt8Array) -> Face:
        height, width = image.shape[:2]
        scores = self.scores(image)
        return face_from_mask(_argmax_at(scores, (height, width)), _confidence(scores), self.keypoints)

    @torch.inference_mode()
    def scores(self, image: UInt8Array) -> npt.NDArray[np.float32]:
        """Return the summed scores (19, h, w) float32 of `image` (H, W, 3) uint8 RGB, at the network's input size."""
        height, width = _input_size(image.shape[0], image.shape[1], self.size)
        shrinks = height < image.shape[0]
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        tensor = torch.from_numpy(normalise(np.asarray(small, np.uint8))).permute(2, 0, 1)[None].to(self.device)
        fused = fuse(self.net(tensor.contiguous(memory_format=torch.channels_last)), (height, width))
        result: npt.NDArray[np.float32] = fused[0].float().cpu().numpy()
        return result


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


def resolve_device(device: str) -> torch.device:
    """Return the device of a name, "auto" being CUDA where there is one.

    Raises:
        ConfigError: a name that torch does not know, or a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device is '{device}', which this machine does not have ({reason}): take auto") from error
    return found


def _input_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the size that the network sees: the longer side at `size`, both sides multiples of its stride."""
    steps = size / max(height, width) / STRIDE
    return max(1, round(height * steps)) * STRIDE, max(1, round(width * steps)) * STRIDE


def _confidence(scores: npt.NDArray[np.float32]) -> dict[int, float]:
    """Return each class's mean probability over its own mask, at the resolution of scores (19, h, w).

    A class without a mask there can still win between two pixels of the enlarged scores; it gets its highest
    probability.
    """
    probability = np.exp(scores - scores.max(0))
    probability /= probability.sum(0)
    winner = scores.argmax(0)
    own = ((i, p, p[winner == i]) for i, p in enumerate(probability))
    return {i: float(over_mask.mean() if over_mask.size else p.max()) for i, p, over_mask in own}


def _argmax_at(scores: npt.NDArray[np.float32], size: tuple[int, int]) -> UInt8Array:
    """Return the argmax (H, W) uint8 of scores (19, h, w) upsampled to `size`, holding two full-size maps only."""
    height, width = size
    best = np.full(size, -np.inf, dtype=np.float32)
    mask = np.zeros(size, dtype=np.uint8)
    for i, score in enumerate(scores):
        full = cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR)
        better = full > best
        mask[better] = i
        np.maximum(best, full, out=best)
    return mask

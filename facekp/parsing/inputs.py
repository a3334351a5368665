"""Conversion of image arguments (files, PIL images, NumPy arrays, tensors) to uint8 RGB arrays."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from facekp.errors import DataError
from facekp.images import UInt8Array, decoding, read_image, to_8_bits, to_rgb

if TYPE_CHECKING:
    import torch

ImageLike = Union[str, Path, Image.Image, npt.NDArray[np.generic], "torch.Tensor"]
MIN_SIDE = 32
"""Images with a side below this many pixels are refused."""
ALLOWED = "need (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor (1, H, W), (3, H, W) or (4, H, W)"


def as_images(image: ImageLike | Sequence[ImageLike]) -> Sequence[ImageLike]:
    """Return the images in an argument: one image, a list, an array (N, H, W, C) or a tensor (N, C, H, W).

    Raises:
        DataError: another type.

    Example:
        >>> len(as_images("photo.jpg")), len(as_images(np.zeros((5, 64, 64, 3), np.uint8)))
        (1, 5)
    """
    if isinstance(image, np.ndarray) or _is_tensor(image):
        return list(image) if is_several(image) else [image]
    if isinstance(image, str | Path | Image.Image):
        return [image]
    if not isinstance(image, Sequence) or isinstance(image, bytes):
        what = "a path, a PIL image, an array, a tensor or a list of them (cv2.imread returns None if it cannot read)"
        raise DataError(f"image: {type(image).__name__}, need {what}")
    return image


def is_several(image: ImageLike | Sequence[ImageLike]) -> bool:
    """Return whether an argument of `FaceParser` holds several images, perhaps one or none, rather than one."""
    if isinstance(image, np.ndarray) or _is_tensor(image):
        return image.ndim == 4
    return not isinstance(image, str | Path | Image.Image)


def to_array(image: ImageLike) -> UInt8Array:
    """Return an image as (H, W, 3) uint8 RGB.

    Args:
        image: a path; a PIL image of any mode; an array (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA; or
            a tensor with its channels first, (H, W), (1, H, W), (3, H, W) or (4, H, W), on any device. Numbers are
            uint8 0..255, uint16 0..65535 (see `to_8_bits`), or floats 0..1. Transparent pixels are blended with white.

    Raises:
        DataError: see `FaceParser.__call__`.

    Example:
        >>> import torch
        >>> to_array(torch.ones(3, 40, 50))[0, 0].tolist()
        [255, 255, 255]
    """
    if isinstance(image, str | Path):
        array, name = read_image(image), f"image {image}"
    elif isinstance(image, Image.Image):
        # A damaged picture fails here, when its pixels are first read.
        name = f"image {getattr(image, 'filename', '')}".rstrip()
        with decoding(name, "replace it"):
            array = to_rgb(image, name)
    else:
        array, name = _from_numbers(image), "image"
    height, width = array.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise DataError(f"{name}: {width} x {height} pixels, need at least {MIN_SIDE} x {MIN_SIDE}")
    return array


def _is_tensor(image: object) -> "TypeGuard[torch.Tensor]":
    """Return whether an image is a tensor, without importing torch: where it is not, there are no tensors."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def _from_numbers(image: object) -> UInt8Array:
    """Convert an array, tensor or array-like to (H, W, 3) uint8 RGB."""
    if _is_tensor(image):
        # NumPy has no bfloat16.
        array = (image.detach().float() if image.is_floating_point() else image.detach()).cpu().numpy()
        array = np.moveaxis(array, 0, 2) if array.ndim == 3 else array
    else:
        array = np.asarray(image)
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise DataError(f"image: {type(image).__name__} of shape {tuple(getattr(image, 'shape', ()))}, {ALLOWED}")
    if array.dtype == np.uint16:
        array = to_8_bits(array, "image")
    elif np.issubdtype(array.dtype, np.floating):
        values = array.astype(np.float32, copy=False)
        lowest, highest = float(values.min(initial=0)), float(values.max(initial=0))
        if not (lowest >= 0 and highest <= 1):  # true of NaN as well
            raise DataError(f"image: {array.dtype} values {lowest:g}..{highest:g}, need 0..1 (divide them)")
        array = (values * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise DataError(f"image: numbers are {array.dtype}, need uint8 0..255, uint16 0..65535 or floats 0..1")
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return to_rgb(Image.fromarray(array)) if array.shape[2] == 4 else array

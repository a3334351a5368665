"""Reading pictures and label maps, and writing label maps as palette PNGs."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from facekp.attributes import IGNORE_INDEX, NUM_CLASSES, PALETTE
from facekp.decode import decode_jpeg, decode_png
from facekp.errors import DataError

UInt8Array = npt.NDArray[np.uint8]


def read_image(path: str | Path) -> UInt8Array:
    """Read a picture of any mode, turned upright by its EXIF tag.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: the file is missing, truncated or no picture.
    """
    try:
        data = Path(path).read_bytes()
        pixels = decode_jpeg(data)
        if pixels is None:
            with Image.open(BytesIO(data)) as picture:
                pixels = to_rgb(picture)
        return pixels
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"image {path}: cannot be read ({_reason(error)}); replace or remove it") from error


def to_rgb(picture: Image.Image) -> UInt8Array:
    """Return a picture of any mode as (H, W, 3) uint8 RGB, turned upright by its EXIF tag."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        # 16 bits a pixel (or 32 that hold as many): Pillow would turn all but the darkest into white.
        grey = np.clip(np.array(upright, dtype=np.int64) >> 8, 0, 255).astype(np.uint8)
        upright = Image.fromarray(grey)
    return np.array(upright.convert("RGB"))


def resize(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return `image` (H, W, 3) uint8 at `size` (height, width): averaged where it shrinks, bilinear where it grows."""
    height, width = size
    if image.shape[:2] == size:
        return image
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def read_label(path: str | Path) -> UInt8Array:
    """Read a label map, a one-channel PNG whose values (or palette indices) are class ids.

    Returns:
        (H, W) uint8, ids 0..18 or 255 (ignore).

    Raises:
        DataError: the file is missing, truncated, not one channel, or holds another value.
    """
    try:
        data = Path(path).read_bytes()
        label = decode_png(data)
        if label is None:
            with Image.open(BytesIO(data)) as picture:
                label = np.array(picture)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise DataError(f"label {path}: cannot be read ({_reason(error)}); make it again") from error
    if label.ndim != 2 or label.dtype != np.uint8:
        raise DataError(f"label {path}: {label.dtype} of shape {label.shape}, need one channel of 8 bits")
    # Two fast passes: the largest value, and only where that is 255 the largest below it.
    largest = int(label.max(initial=0))
    if largest == IGNORE_INDEX:
        largest = int(label[label != IGNORE_INDEX].max(initial=0))
    if largest >= NUM_CLASSES:
        raise DataError(f"label {path}: value {largest}, need class ids 0..{NUM_CLASSES - 1} (or {IGNORE_INDEX})")
    return label


def palette_image(mask: UInt8Array) -> Image.Image:
    """Return `mask` (H, W) uint8 as a palette picture whose indices are the class ids."""
    picture = Image.fromarray(mask)
    picture.putpalette([channel for colour in PALETTE for channel in colour])
    return picture


def write_label(path: str | Path, mask: UInt8Array) -> None:
    """Write `mask` (H, W) uint8, class ids, as a palette PNG."""
    palette_image(mask).save(path, format="PNG")


def _reason(error: Exception) -> str:
    """Return the reason without the path, which the message names already."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    return str(error) or type(error).__name__

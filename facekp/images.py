"""Reading pictures and label maps, and writing label maps as palette PNGs."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from zlib_ng import zlib_ng

from facekp.classes import IGNORE_INDEX, NUM_CLASSES, PALETTE
from facekp.errors import DataError

UInt8Array = npt.NDArray[np.uint8]
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF tag Orientation (Exif 2.3, section 4.6.4); 1 is upright."""


def read_image(path: str | Path) -> UInt8Array:
    """Read a picture of any mode; of an animation, the first frame. See `to_rgb`.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: the file is missing, may not be read, is damaged, no picture, or has more than 178 million pixels
            (twice `PIL.Image.MAX_IMAGE_PIXELS`).
    """
    with decoding(f"image {path}", "replace or remove it"):
        data = Path(path).read_bytes()
        pixels = decode_jpeg(data)
        if pixels is not None:
            return pixels
        with Image.open(BytesIO(data)) as picture:
            return to_rgb(picture)


def to_rgb(picture: Image.Image) -> UInt8Array:
    """Return a picture of any mode as (H, W, 3) uint8 RGB, turned upright by its EXIF tag.

    What is transparent is laid over white, as viewers do. 16 bits become the upper 8.
    """
    picture.load()  # a PNG's tags may come behind its pixels
    # Pillow's own `exif_transpose` writes all tags anew, which an odd one among them does not bear.
    turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    upright = picture if turn is None else picture.transpose(turn)
    if upright.mode == "F":
        raise ValueError("pixels are floats of an unknown range; save it with 8 or 16 bits")
    if upright.mode.startswith("I"):
        # 16 bits a pixel (or 32 that hold as many): Pillow would turn all but the darkest into white.
        grey = np.clip(np.array(upright, dtype=np.int64) >> 8, 0, 255).astype(np.uint8)
        upright = Image.fromarray(grey)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    return np.array(upright.convert("RGB"))


@contextmanager
def decoding(name: str, remedy: str) -> Iterator[None]:
    """Turn whatever goes wrong while Pillow reads `name` into a DataError."""
    try:
        yield
    except Exception as error:
        # Damaged bytes lead its decoders to raise nearly anything: struct.error, IndexError, EOFError, zlib.error, ...
        raise DataError(f"{name}: cannot be read ({_reason(error)}); {remedy}") from error


def resize(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Return `image` (H, W, 3) uint8 at `size` (height, width): averaged where it shrinks, bilinear where it grows."""
    # One after the other, because OpenCV averages only where neither side grows.
    least = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))
    for (height, width), how in ((least, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if image.shape[:2] != (height, width):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
    return image


def read_label(path: str | Path) -> UInt8Array:
    """Read a label map, a one-channel PNG whose values (or palette indices) are class ids.

    Returns:
        (H, W) uint8, ids 0..18 or 255 (ignore).

    Raises:
        DataError: the file is missing, truncated, not one channel, or holds another value.
    """
    with decoding(f"label {path}", "make it again"):
        data = Path(path).read_bytes()
        label = decode_png(data)
        if label is None:
            with Image.open(BytesIO(data)) as picture:
                label = np.array(picture)
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


def write_label(path: str | Path, mask: UInt8Array, notes: Mapping[str, str] | None = None) -> None:
    """Write `mask` (H, W) uint8, class ids, as a palette PNG; `notes` go with it as its text chunks."""
    info = PngInfo()
    for key, text in (notes or {}).items():
        info.add_text(key, text)
    palette_image(mask).save(path, format="PNG", pnginfo=info)


def _reason(error: Exception) -> str:
    """Return the reason without the path, which the message names already."""
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    return str(error) or type(error).__name__


_REASONS: dict[type[Exception], str] = {
    FileNotFoundError: "no such file",
    IsADirectoryError: "a folder, not a picture",
    PermissionError: "no permission",
    UnidentifiedImageError: "not a picture",
}


TURNED = (b"Exif", b"tiff:Orientation")
"""What a JPEG that may have to be turned upright contains, ahead of its pixels."""
PIXELS = b"\xff\xda"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK, HEADER = struct.Struct(">I4s"), struct.Struct(">IIBBBBB")
GREY, INDEXED = 0, 3  # colour types


def decode_jpeg(data: bytes) -> UInt8Array | None:
    """Return an ordinary colour JPEG as (H, W, 3) uint8 RGB, the very pixels that Pillow gives.

    None means that Pillow has to look: the file is damaged, of another colour space, huge or may have to be turned.
    """
    about = data[: data.find(PIXELS)]
    if any(mark in about for mark in TURNED):
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
        if colour != "YCbCr" or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        pixels: UInt8Array = simplejpeg.decode_jpeg(data, "RGB")  # raises at a warning too
    except ValueError:
        return None
    return pixels


def decode_png(data: bytes) -> UInt8Array | None:
    """Return a PNG of one channel of 8 bits as (H, W) uint8, palette indices or grey values.

    None means that Pillow has to look: the file is damaged, of another kind, or its rows are filtered. Rows of palette
    indices are not filtered by Pillow and others that follow the specification's advice.

    Reference: www.w3.org/TR/png-3, sections 5, 7 and 12.7.
    """
    header, body, place = None, bytearray(), len(SIGNATURE)
    if not data.startswith(SIGNATURE):
        return None
    while place + CHUNK.size <= len(data):
        size, kind = CHUNK.unpack_from(data, place)
        content = data[place + CHUNK.size : place + CHUNK.size + size]
        if kind == b"IHDR" and size == HEADER.size == len(content):
            header = HEADER.unpack(content)
        elif kind == b"IDAT":
            body += content
        place += CHUNK.size + size + 4  # its checksum; the inflated data have one of their own
    if header is None:
        return None
    width, height, bits, colour, _, _, interlaced = header
    if bits != 8 or colour not in (GREY, INDEXED) or interlaced:
        return None
    return _inflate(bytes(body), height, width)


def _inflate(body: bytes, height: int, width: int) -> UInt8Array | None:
    inflater = zlib_ng.decompressobj()
    try:
        rows = inflater.decompress(body, height * (width + 1) + 1)
    except zlib_ng.error:  # type: ignore[misc]  # its stub has no class there
        return None
    if not inflater.eof or len(rows) != height * (width + 1):
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
    # Each row starts with its filter's number, and 0 is none.
    return None if table[:, 0].any() else np.ascontiguousarray(table[:, 1:])

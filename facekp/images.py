"""Reading and resizing images and label maps, and writing label maps as palette PNGs."""

import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX, Classes
from facekp.errors import ConfigError, DataError

try:  # both are faster than Pillow, which reads the same pixels where they are missing
    import simplejpeg
except ImportError:
    simplejpeg = None
try:
    from zlib_ng import zlib_ng
except ImportError:
    zlib_ng = None  # type: ignore[assignment]  # a module elsewhere

UInt8Array = npt.NDArray[np.uint8]
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that turns an image upright, by its EXIF orientation. Reference: Exif 2.3, section 4.6.4."""
PNG_HEADER, PNG_CHUNK = struct.Struct(">8sI4sIIBBBBB"), struct.Struct(">I4s")
CASCADES = tuple(f"{prefix}/share/opencv4/haarcascades" for prefix in (sys.prefix, "/usr"))
"""Folders of the cascades of an OpenCV without `cv2.data`: conda's, and Debian's."""
HEIC = (".heic", ".heif")  # suffixes of photos that Pillow does not read
CONVERT_HEIC = "HEIC is not read; convert it to JPEG (pillow-heif can)"
_reported: set[str] = set()


def read_image(path: str | Path) -> UInt8Array:
    """Read an image of any mode, or the first frame of an animation, as (H, W, 3) uint8 RGB; see `to_rgb`.

    Raises:
        DataError: the file is missing, unreadable, damaged, not an image, or has more than 178 million pixels (twice
            `PIL.Image.MAX_IMAGE_PIXELS`).
    """
    remedy = CONVERT_HEIC if Path(path).suffix.lower() in HEIC else "replace or remove it"
    with decoding(f"image {path}", remedy):
        data = Path(path).read_bytes()
        pixels = decode_jpeg(data)
        if pixels is not None:
            return pixels
        with Image.open(BytesIO(data)) as picture:
            return to_rgb(picture, f"image {path}")


def read_label(path: str | Path, classes: Classes = CELEBAMASK_HQ) -> UInt8Array:
    """Read a label map (H, W) uint8, a one-channel PNG whose values or palette indices are ids of `classes`, or 255.

    Raises:
        DataError: the file is missing or truncated, has several channels, or contains another value.
    """
    with decoding(f"label {path}", "make it again"):
        data = Path(path).read_bytes()
        label = decode_png(data)
        if label is None:
            with Image.open(BytesIO(data)) as picture:
                label = np.array(picture)
    if label.ndim != 2 or label.dtype != np.uint8:
        raise DataError(f"label {path}: {label.dtype} of shape {label.shape}, need one channel of 8 bits")
    # Two fast passes: the largest value and, only if that is 255, the largest below it.
    largest = int(label.max(initial=0))
    if largest == IGNORE_INDEX:
        largest = int(label[label != IGNORE_INDEX].max(initial=0))
    if largest >= len(classes):
        raise DataError(f"label {path}: value {largest}, need class ids 0..{len(classes) - 1} (or {IGNORE_INDEX})")
    return label


def to_rgb(picture: Image.Image, name: str = "image") -> UInt8Array:
    """Convert an image of any mode to (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Transparent pixels are blended with white, as viewers do. 16-bit images are converted with `to_8_bits`; `name` is
    theirs in its message.
    """
    # Of channels of 16 bits, Pillow reads the upper 8.
    deep = any(";16" in str(tile.args) for tile in getattr(picture, "tile", ()))
    picture.load()  # a PNG may store its tags after its pixels
    # ImageOps.exif_transpose rewrites every tag and fails on malformed ones.
    turn = UPRIGHT.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    upright = picture if turn is None else picture.transpose(turn)
    if upright.mode == "F":
        raise ValueError("pixels are floats of an unknown range; save it with 8 or 16 bits")
    if upright.mode.startswith("I"):
        # 16 bits per pixel, possibly stored in 32: Pillow would turn all but the darkest pixels white.
        upright = Image.fromarray(to_8_bits(np.array(upright, dtype=np.int64), name))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    pixels = np.array(upright.convert("RGB"))
    if deep and picture.mode == "RGB" and pixels.max(initial=0) < 16:
        _report(name, "colours of 16 bits fill 12 at most, so that it is black; save it with 8")
    return pixels


def to_8_bits(values: npt.NDArray[np.integer[Any]], name: str) -> UInt8Array:
    """Return the upper 8 bits of 16-bit values, or of 10 or 12 bits if all values fit into these.

    Microscopes, scanners and X-ray cameras store 12 bits in files of 16; read as 16 bits, these would be black. The
    reading is printed, once a process.

    Raises:
        ValueError: a value below 0 or above 65535.
    """
    least, largest = int(values.min(initial=0)), int(values.max(initial=0))
    if least < 0 or largest >= 1 << 16:
        raise ValueError(f"values from {least} to {largest}, need 0 to 65535; save it with 8 or 16 bits")
    bits = next((bits for bits in (8, 10, 12) if largest < 1 << bits), 16)
    if largest and bits < 16:
        _report(name, f"16-bit values that fit into {bits} bits are read as {bits} bits")
    return (values >> (bits - 8)).astype(np.uint8)


def _report(name: str, finding: str) -> None:
    """Print what was found in an image, for the first such image alone: a folder's photos are often of one camera."""
    if finding not in _reported:
        _reported.add(finding)
        print(f"{name}: {finding}; further ones are not reported", file=sys.stderr)


@contextmanager
def decoding(name: str, remedy: str) -> Iterator[None]:
    """Convert any error while reading `name` to a DataError."""
    try:
        yield
    except Exception as error:
        # Damaged bytes make Pillow raise nearly anything: struct.error, IndexError, EOFError, zlib.error, ...
        # The reason omits the path, which `name` already contains.
        plain: dict[type[Exception], str] = {
            FileNotFoundError: "no such file",
            IsADirectoryError: "a folder, not a picture",
            PermissionError: "no permission",
            UnidentifiedImageError: "not a picture",
        }
        reason = plain.get(type(error), str(error) or type(error).__name__)
        raise DataError(f"{name}: cannot be read ({reason}); {remedy}") from error


def resize(image: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize `image` (H, W, 3) uint8 to `size` (height, width): area averages to shrink, bilinear to enlarge."""
    # In two steps, because OpenCV averages only if neither side grows.
    least = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))
    for (height, width), how in ((least, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if image.shape[:2] != (height, width):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
    return image


def fit_within(image: UInt8Array, side: int) -> UInt8Array:
    """Reduce `image` (H, W, 3) uint8 to at most `side` pixels on its longer side, keeping its proportions.

    Example:
        >>> fit_within(np.zeros((300, 2, 3), np.uint8), 100).shape
        (100, 1, 3)
    """
    scale = min(1.0, side / max(image.shape[:2]))
    return resize(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))


def palette_image(mask: UInt8Array, palette: Sequence[tuple[int, int, int]] = CELEBAMASK_HQ.colours) -> Image.Image:
    """Return `mask` (H, W) uint8 as a palette image whose indices are its ids, with their RGB colours."""
    picture = Image.fromarray(mask)
    picture.putpalette([channel for colour in palette for channel in colour])
    return picture


def write_label(
    file: str | Path | BinaryIO,
    mask: UInt8Array,
    notes: Mapping[str, str] | None = None,
    palette: Sequence[tuple[int, int, int]] = CELEBAMASK_HQ.colours,
) -> None:
    """Write `mask` (H, W) uint8, class ids, as a PNG with this palette and with `notes` as its text chunks."""
    info = PngInfo()
    for key, text in (notes or {}).items():
        info.add_text(key, text)
    # Pillow stores up to 16 colours in 4 bits, which cannot hold 255.
    colours = [*palette, *[(0, 0, 0)] * (17 - len(palette))]
    # Masks are runs of equal pixels: searching for runs alone is faster, and the file is smaller.
    palette_image(mask, colours).save(file, format="PNG", pnginfo=info, compress_type=zlib.Z_RLE)


def cascade_file(name: str) -> Path:
    """Return the file of one of OpenCV's cascades.

    Raises:
        ConfigError: this OpenCV has none.
    """
    own = getattr(getattr(cv2, "data", None), "haarcascades", None)
    paths = (Path(folder, name) for folder in ([own] if own else CASCADES))
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        raise ConfigError(
            f"OpenCV {cv2.__version__} has no {name}: install opencv-python-headless, Debian's opencv-data, or "
            "CenterFace as another face detector (docs/guides/predict.md)"
        )
    return path


def decode_jpeg(data: bytes) -> UInt8Array | None:
    """Decode an ordinary colour JPEG to (H, W, 3) uint8 RGB, the same pixels as Pillow's in half the time.

    Return None for files that Pillow must read: damaged, huge, in another colour space, or perhaps with an orientation.
    """
    header = data[: data.find(b"\xff\xda")]  # up to the start of the scan
    if simplejpeg is None or b"Exif" in header or b"tiff:Orientation" in header:
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data)
        if colour != "YCbCr" or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        pixels: UInt8Array = simplejpeg.decode_jpeg(data, "RGB")  # raises on warnings too
    except ValueError:
        return None
    return pixels


def decode_png(data: bytes) -> UInt8Array | None:
    """Decode an 8-bit PNG of one channel, palette indices or grey values, to (H, W) uint8; 2.5 times as fast as Pillow.

    Return None for files that Pillow must read: damaged, of another kind, or with filtered rows, which few writers use
    for palette indices.

    Reference: www.w3.org/TR/png-3, sections 5, 7 and 12.7.
    """
    if zlib_ng is None or len(data) < PNG_HEADER.size:
        return None
    signature, _, _, width, height, bits, colour, _, _, interlaced = PNG_HEADER.unpack_from(data)
    if signature != b"\x89PNG\r\n\x1a\n" or bits != 8 or colour not in (0, 3) or interlaced:  # grey, palette
        return None
    body, place = b"", PNG_HEADER.size + 4  # each chunk ends in a checksum; the compressed pixels have one of their own
    while place + PNG_CHUNK.size <= len(data):
        size, kind = PNG_CHUNK.unpack_from(data, place)
        place += PNG_CHUNK.size
        if kind == b"IDAT":
            body += data[place : place + size]
        place += size + 4
    inflater = zlib_ng.decompressobj()
    try:
        rows = inflater.decompress(body, height * (width + 1) + 1)
    except zlib_ng.error:  # type: ignore[misc]  # its stub has no class there
        return None
    if not inflater.eof or len(rows) != height * (width + 1):
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
    # Each row starts with the number of its filter; 0 is none.
    return None if table[:, 0].any() else np.ascontiguousarray(table[:, 1:])

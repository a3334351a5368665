"""The fast lane for the two kinds of file that a prepared data set is made of; every other file is Pillow's."""

import struct

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image
from zlib_ng import zlib_ng

UInt8Array = npt.NDArray[np.uint8]

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

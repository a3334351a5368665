"""The mask as a palette PNG."""

from collections.abc import Sequence
from io import BytesIO

from facekp.formats.base import FORMATS, Format, Photo
from facekp.images import write_label
from facekp.parsing.face import Face
from facekp.parsing.overlay import merge_masks


@FORMATS.register("mask")
class Mask(Format):
    """A palette PNG whose indices are class ids; where faces overlap, the first wins."""

    file = "NAME.mask.png"
    help = "class ids, as a palette PNG"
    mark = rb"\x89PNG.{,99}tEXtSoftware\x00facekp"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        buffer = BytesIO()
        write_label(buffer, merge_masks(faces, photo.size), {"Software": "facekp"})
        return buffer.getvalue()

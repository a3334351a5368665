"""The mask as a palette PNG."""

from collections.abc import Sequence
from io import BytesIO

from facekp.formats.base import FORMATS, Format, Photo
from facekp.images import palette_image
from facekp.parsing.face import Face
from facekp.parsing.overlay import merge_masks


@FORMATS.register("mask")
class Mask(Format):
    """A palette PNG whose indices are class ids; where faces overlap, the first wins."""

    file = "NAME.mask.png"
    help = "class ids, as a palette PNG"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        buffer = BytesIO()
        palette_image(merge_masks(faces, photo.size)).save(buffer, format="PNG")
        return buffer.getvalue()

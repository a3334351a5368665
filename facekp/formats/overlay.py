"""The photo with its masks, outlines, key points and a legend."""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from PIL import Image

from facekp.formats.base import FORMATS, Format, Photo
from facekp.parsing.face import Face
from facekp.parsing.overlay import draw_overlay

QUALITY: Final = 92


@FORMATS.register("overlay")
class Overlay(Format):
    """A JPEG of the photo with masks, outlines, key points and a legend."""

    file = "NAME.overlay.jpg"
    help = "the photo with masks, key points and a legend"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the JPEG."""
        buffer = BytesIO()
        Image.fromarray(draw_overlay(photo.image, faces)).save(buffer, format="JPEG", quality=QUALITY)
        return buffer.getvalue()

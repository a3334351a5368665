"""The photo with its masks, outlines, key points and a legend."""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from PIL import Image

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.formats.base import FORMATS, Format, FormatOptions, Photo
from facekp.images import fit_within
from facekp.parsing.face import Face
from facekp.parsing.overlay import Style, draw_overlay

QUALITY: Final = 92
MAX_SIDE: Final = 65_500  # longest side that libjpeg writes, pixels; larger overlays are reduced to it


@FORMATS.register("overlay")
class Overlay(Format):
    """A JPEG of the photo with masks, outlines, key points and a legend, unless `style` says otherwise."""

    file = "NAME.overlay.jpg"
    help = "the photo with masks, key points and a legend"
    mark = rb"\xff\xd8.{,99}\xff\xfe..facekp"

    def __init__(self, style: Style | None = None, classes: Classes = CELEBAMASK_HQ) -> None:
        self.style, self.classes = style or Style(), classes

    @classmethod
    def open(cls, options: FormatOptions) -> Sequence[Format]:
        """Return the writer with the classes of the options."""
        return [cls(classes=options.classes)]

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the JPEG."""
        buffer = BytesIO()
        drawn = Image.fromarray(fit_within(draw_overlay(photo.image, faces, self.style, self.classes), MAX_SIDE))
        drawn.save(buffer, format="JPEG", quality=QUALITY, comment=b"facekp")
        return buffer.getvalue()

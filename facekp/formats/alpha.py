"""Soft masks of regions as grey PNGs."""

from collections.abc import Sequence

from facekp.formats.base import FORMATS, Photo, RegionFormat, encode_png
from facekp.parsing.face import Face


@FORMATS.register("alpha")
class Alpha(RegionFormat):
    """A grey PNG of the region's alpha, 0 to 255."""

    file = "NAME.REGION.alpha.png"
    help = "each region of regions= with soft edges, 0 to 255"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        return encode_png(self.alpha(photo.size, faces))

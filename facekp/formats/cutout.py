"""Regions cut out of the photo."""

from collections.abc import Sequence

import numpy as np

from facekp.formats.base import FORMATS, Photo, RegionFormat, encode_png
from facekp.parsing.face import Face


@FORMATS.register("cutout")
class Cutout(RegionFormat):
    """An RGBA PNG of the photo's size with the region's alpha; straight, not multiplied into the colours."""

    file = "NAME.REGION.cutout.png"
    help = "each region of regions= cut out of the photo, with soft edges"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        alpha = self.alpha(photo.size, faces)[..., None]
        # Black where nothing shows, which makes small files and keeps the rest of the photo out of them.
        return encode_png(np.concatenate([photo.image * (alpha > 0), alpha], axis=2))

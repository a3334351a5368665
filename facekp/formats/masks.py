"""Masks of regions as black and white PNGs."""

from collections.abc import Sequence

import numpy as np

from facekp.formats.base import FORMATS, Photo, RegionFormat, encode_png
from facekp.parsing.face import Face
from facekp.parsing.overlay import merge_masks
from facekp.parsing.regions import class_ids


@FORMATS.register("masks")
class Masks(RegionFormat):
    """A grey PNG, 255 in the region of any face and 0 elsewhere."""

    file = "NAME.REGION.region.png"
    help = "each region of regions=: 255 inside, 0 outside"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        inside = np.isin(merge_masks(faces, photo.size), class_ids(self.region, self.options.classes))
        return encode_png(np.uint8(255) * inside)

"""Regions as PNGs of the photo's size: masks, soft masks, and the photo's pixels."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facekp.formats.base import FORMATS, SOFTWARE, Photo, RegionFormat
from facekp.images import UInt8Array
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
        return _encode_png(np.uint8(255) * inside)


@FORMATS.register("alpha")
class Alpha(RegionFormat):
    """A grey PNG of the region's alpha, 0 to 255."""

    file = "NAME.REGION.alpha.png"
    help = "each region of regions= with soft edges, 0 to 255"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        return _encode_png(self.alpha(photo.size, faces))


@FORMATS.register("cutout")
class Cutout(RegionFormat):
    """An RGBA PNG of the photo with the region's alpha; straight, not multiplied into the colours."""

    file = "NAME.REGION.cutout.png"
    help = "each region of regions= cut out of the photo, with soft edges"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        alpha = self.alpha(photo.size, faces)[..., None]
        # Black where nothing shows, which makes small files and keeps the rest of the photo out of them.
        return _encode_png(np.concatenate([photo.image * (alpha > 0), alpha], axis=2))


def _encode_png(image: UInt8Array) -> bytes:
    buffer, info = BytesIO(), PngInfo()
    for key, text in SOFTWARE.items():
        info.add_text(key, text)
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()

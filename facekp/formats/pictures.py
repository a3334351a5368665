"""Formats that are pictures: the mask as a palette PNG, and the overlay."""

from collections.abc import Sequence
from typing import Final

from PIL import Image

from facekp.files import replacing
from facekp.formats.base import Photo
from facekp.images import palette_image
from facekp.parsing.face import Face
from facekp.parsing.overlay import draw_overlay, merge_masks

MASK: Final = ".mask.png"
OVERLAY: Final = ".overlay.jpg"


def write_mask(photo: Photo, faces: Sequence[Face]) -> None:
    """Write `NAME.mask.png`, whose indices are class ids; where faces overlap, the first of them."""
    with replacing(photo.result(MASK)) as part:
        palette_image(merge_masks(faces, photo.size)).save(part, format="PNG")


def write_overlay(photo: Photo, faces: Sequence[Face]) -> None:
    """Write `NAME.overlay.jpg`, the photo with masks, key points and a legend."""
    with replacing(photo.result(OVERLAY)) as part:
        Image.fromarray(draw_overlay(photo.image, faces)).save(part, format="JPEG", quality=92)

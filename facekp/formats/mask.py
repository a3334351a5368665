"""The mask as a palette PNG."""

from collections.abc import Sequence
from io import BytesIO

import cv2

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.formats.base import FORMATS, PNG_MARK, SOFTWARE, Format, FormatOptions, Photo
from facekp.images import write_label
from facekp.parsing.face import Face
from facekp.parsing.id_tables import OWN, id_lookup, read_ids
from facekp.parsing.overlay import merge_masks


@FORMATS.register("mask")
class Mask(Format):
    """A palette PNG whose indices are class ids (see `facekp.Face.mask_as`); where faces overlap, the first wins."""

    file = "NAME.mask.png"
    help = "class ids, as a palette PNG"
    mark = PNG_MARK

    def __init__(self, ids: str = OWN, classes: Classes = CELEBAMASK_HQ) -> None:
        table = read_ids(ids, classes)
        self.lookup = id_lookup(table)
        # Of classes with one id, the first has its colour.
        colours = {i: colour for i, colour in zip(reversed(table.values()), reversed(classes.colours), strict=True)}
        self.palette = [colours.get(i, (0, 0, 0)) for i in range(max(colours) + 1)]

    @classmethod
    def open(cls, options: FormatOptions) -> Sequence[Format]:
        """Return the writer of the mask in the ids of the options."""
        return [cls(options.ids, options.classes)]

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the PNG."""
        buffer = BytesIO()
        mask = cv2.LUT(merge_masks(faces, photo.size), self.lookup)
        write_label(buffer, mask, SOFTWARE, self.palette)
        return buffer.getvalue()

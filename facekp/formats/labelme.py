"""LabelMe: outlines as polygons to correct by hand; `labelme photos --output DIR/labelme` opens them.

LabelMe's polygons have no holes, so holes are cut out through slits. All parts of a face share one `group_id`, so that
LabelMe's converters merge the parts of an attribute into one instance.

Reference: https://github.com/wkentaro/labelme, labelme/_label_file.py of 6.3.1.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from facekp.formats.base import FORMATS, Format, Photo, as_text
from facekp.formats.polygons import keyholed
from facekp.keypoints.curves import rounded
from facekp.parsing.face import Face

VERSION: Final = "5.0.0"
"""The first LabelMe with this file format."""


@FORMATS.register("labelme")
class LabelMe(Format):
    """One file per photo, in a folder of its own because LabelMe looks for NAME.json, which is facekp's own JSON."""

    file = "labelme/NAME.json"
    help = "outlines to correct by hand in LabelMe"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the JSON object."""
        height, width = photo.size
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": [shape for number, face in enumerate(faces) for shape in _shapes(face, number)],
            "imagePath": as_text(photo.path_from((photo.stem.parent / self.file).parent)),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2)


def _shapes(face: Face, number: int) -> list[dict[str, Any]]:
    return [
        {
            "label": attribute.name,
            "points": rounded(ring).tolist(),
            "group_id": number,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for attribute in face.attributes.values()
        for ring in keyholed(attribute.contours)
    ]

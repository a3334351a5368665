"""LabelMe: `labelme photos --output DIR/labelme` opens the outlines as polygons that can be corrected by hand.

A part's holes are cut out through slits, as LabelMe's polygons have none. The parts of an attribute have one
`group_id`, by which LabelMe's converters make one instance of them.

Reference: https://github.com/wkentaro/labelme, labelme/_label_file.py of 6.3.1.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from facekp.files import replacing, writing
from facekp.formats.base import Photo, as_text
from facekp.formats.polygons import keyholed
from facekp.keypoints.curves import rounded
from facekp.parsing.face import Face

FOLDER: Final = "labelme"
"""A folder of its own: LabelMe looks for NAME.json, which is this project's own JSON."""
VERSION: Final = "5.0.0"
"""The first LabelMe whose files are like this."""


def write_labelme(photo: Photo, faces: Sequence[Face]) -> None:
    """Write `labelme/NAME.json`."""
    folder = photo.stem.parent / FOLDER
    with writing(folder):
        folder.mkdir(exist_ok=True)
    height, width = photo.size
    content: dict[str, Any] = {
        "version": VERSION,
        "flags": {},
        "shapes": [shape for number, face in enumerate(faces) for shape in _shapes(face, number)],
        "imagePath": as_text(photo.path_from(folder)),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    with replacing(folder / f"{photo.stem.name}.json") as part:
        part.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


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

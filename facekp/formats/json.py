"""facekp's own JSON: everything but the mask. `facekp-2.schema.json` specifies it."""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from facekp.files import to_json
from facekp.formats.base import FORMATS, Format, Photo, as_text
from facekp.parsing.face import MARK, SCHEMA, Face


@FORMATS.register("json")
class Json(Format):
    """The photo's path and size, and `Face.to_dict` of each face."""

    file = "NAME.json"
    help = "outlines, key points and landmarks; see docs/reference/formats.md"
    mark = MARK
    last = True

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the JSON object."""
        height, width = photo.size
        content = {
            "schema": SCHEMA,
            "source": as_text(photo.path),
            "width": width,
            "height": height,
            "faces": [face.to_dict() for face in faces],
        }
        return to_json(content) + b"\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a photo's `NAME.json` and of each line of a video's `NAME.jsonl`.

    Example:
        >>> json_schema()["required"]
        ['schema', 'faces']
    """
    schema: dict[str, Any] = json.loads(files("facekp.formats").joinpath("facekp-2.schema.json").read_text("utf-8"))
    return schema

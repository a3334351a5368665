"""This project's own JSON, which holds all but the mask; facekp-2.schema.json describes it for programs."""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

import orjson

from facekp.files import replacing
from facekp.formats.base import Photo, as_text
from facekp.parsing.face import SCHEMA, Face

JSON: Final = ".json"


def write_json(photo: Photo, faces: Sequence[Face]) -> None:
    """Write `NAME.json`."""
    with replacing(photo.result(JSON)) as part:
        part.write_bytes(orjson.dumps(to_json(photo, faces), option=orjson.OPT_APPEND_NEWLINE))


def to_json(photo: Photo, faces: Sequence[Face]) -> dict[str, Any]:
    """Return what `NAME.json` holds, as plain data."""
    height, width = photo.size
    return {
        "schema": SCHEMA,
        "source": as_text(photo.path),
        "width": width,
        "height": height,
        "faces": [face.to_dict() for face in faces],
    }


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every `NAME.json` and every line of a video's `NAME.jsonl` meets.

    Example:
        >>> json_schema()["required"]
        ['schema', 'faces']
    """
    schema: dict[str, Any] = json.loads(files("facekp.formats").joinpath("facekp-2.schema.json").read_text("utf-8"))
    return schema

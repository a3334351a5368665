"""What predictions are written as: `export=[...]` of predict.py."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from facekp.formats.base import Photo, PhotoFormat, RunFormat
from facekp.formats.coco import COCO
from facekp.formats.labelme import write_labelme
from facekp.formats.pictures import write_mask, write_overlay
from facekp.formats.plain import write_json
from facekp.formats.svg import write_svg
from facekp.formats.table import CSV

__all__ = ["PHOTO_FORMATS", "RUN_FORMATS", "Photo", "PhotoFormat", "RunFormat"]

PHOTO_FORMATS: Final[Mapping[str, PhotoFormat]] = {
    "mask": write_mask,
    "overlay": write_overlay,
    "svg": write_svg,
    "svg-embedded": partial(write_svg, embed=True),
    "labelme": write_labelme,
    "json": write_json,
}
"""Formats with a file for each photo, in the order they are written in: where NAME.json is, the others are whole."""
RUN_FORMATS: Final[Mapping[str, RunFormat]] = {"coco": COCO, "csv": CSV}
"""Formats with one file for all photos."""

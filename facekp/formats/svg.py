"""SVG: the photo with a group for every attribute, which browsers show and drawing programs edit."""

import io
import os
from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

from facekp.classes import PALETTE
from facekp.files import replacing
from facekp.formats.base import Photo, as_text
from facekp.formats.polygons import CORNER, polygon
from facekp.keypoints.curves import DECIMALS, Points
from facekp.parsing.attribute import Attribute
from facekp.parsing.face import Face

SVG: Final = ".svg"
OPACITY: Final = "0.45"
# SVG 2 says href without xlink, which older programs do not know; every program knows this one.
NAMESPACES: Final = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}


def write_svg(photo: Photo, faces: Sequence[Face], *, embed: bool = False) -> None:
    """Write `NAME.svg`, which shows the photo from its place, or with `embed` holds it.

    Several faces overlap as in the mask: the first lies on top.
    """
    height, width = photo.size
    size = {"width": str(width), "height": str(height)}
    root = ET.Element("svg", {**NAMESPACES, **size, "viewBox": f"0 0 {width} {height}"})
    ET.SubElement(root, "title").text = _printable(photo.file)
    ET.SubElement(root, "image", {"xlink:href": _embedded(photo) if embed else _link(photo), **size})
    for number, face in reversed(list(enumerate(faces))):
        group = ET.SubElement(root, "g", {"id": f"face{number}"})
        for attribute in face.attributes.values():
            _add_attribute(group, attribute, f"face{number}-{attribute.name}", max(width, height) / 512)
    ET.indent(root)
    with replacing(photo.result(SVG)) as part:
        part.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _add_attribute(parent: ET.Element, attribute: Attribute, name: str, unit: float) -> None:
    """Add a group: title, area and key points; `unit` is a thin line's width in pixels."""
    colour = "#{:02x}{:02x}{:02x}".format(*PALETTE[attribute.id])
    group = ET.SubElement(parent, "g", {"id": name, "class": attribute.name, "fill": colour, "stroke": colour})
    ET.SubElement(group, "title").text = f"{attribute.name}, confidence {attribute.confidence:.2f}"
    outline = "".join(_closed(polygon(contour.points)) for contour in attribute.contours)
    drawn = {"d": outline, "fill-rule": "evenodd", "fill-opacity": OPACITY, "stroke-width": f"{unit:.2f}"}
    ET.SubElement(group, "path", drawn)
    for x, y in attribute.keypoints + CORNER:
        ET.SubElement(group, "circle", {"cx": f"{x:.2f}", "cy": f"{y:.2f}", "r": f"{1.5 * unit:.2f}", "stroke": "none"})


def _closed(points: Points) -> str:
    return "M" + " ".join(f"{x:.{DECIMALS}f},{y:.{DECIMALS}f}" for x, y in points) + "Z"


def _link(photo: Photo) -> str:
    """Return the photo's address, relative to the SVG; bytes that are no text stay what they are."""
    return quote(os.fsencode(photo.path_from(photo.stem.parent)))


def _embedded(photo: Photo) -> str:
    """Return the photo as it was parsed, turned upright, as the address that holds it."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(photo.image)).save(buffer, format="JPEG", quality=92)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()


def _printable(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() else "\ufffd" for c in as_text(text))

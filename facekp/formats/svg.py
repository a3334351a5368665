"""SVG: the photo with one group per attribute, for browsers and drawing programs."""

import os
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from facekp.formats.base import CORNER, FORMATS, Format, Photo, as_text, polygon
from facekp.keypoints.curves import DECIMALS
from facekp.parsing.attribute import Attribute
from facekp.parsing.face import Face

OPACITY: Final = "0.45"
# SVG 2 drops the xlink prefix of href, but older programs read only this form, and all programs read it.
NAMESPACES: Final = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}


@FORMATS.register("svg")
class Svg(Format):
    """A drawing that links to the photo; where faces overlap, the first lies on top, as in the mask."""

    file = "NAME.svg"
    help = "the photo (linked) under one group per attribute"
    mark = rb"<\?xml[^>]*>\s*<svg data-generator=\"facekp\""

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the XML document."""
        height, width = photo.size
        size = {"width": str(width), "height": str(height)}
        root = ET.Element("svg", {"data-generator": "facekp", **NAMESPACES, **size, "viewBox": f"0 0 {width} {height}"})
        # XML cannot hold control characters.
        ET.SubElement(root, "title").text = "".join(c if c.isprintable() else "\ufffd" for c in as_text(photo.file))
        # Percent-encoding keeps file names whose bytes are not valid text.
        link = quote(os.fsencode(photo.path_from(photo.stem.parent)))
        ET.SubElement(root, "image", {"xlink:href": link, **size})
        for number, face in reversed(list(enumerate(faces))):
            group = ET.SubElement(root, "g", {"id": f"face{number}"})
            for attribute in face.attributes.values():
                colour = "#{:02x}{:02x}{:02x}".format(*face.classes.colours[attribute.id])
                _add_attribute(group, attribute, f"face{number}-{attribute.name}", max(width, height) / 512, colour)
        ET.indent(root)
        return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _add_attribute(parent: ET.Element, attribute: Attribute, name: str, unit: float, colour: str) -> None:
    """Add a group with title, area and key points; `unit` is the width of a thin line in pixels."""
    group = ET.SubElement(parent, "g", {"id": name, "class": attribute.name, "fill": colour, "stroke": colour})
    ET.SubElement(group, "title").text = f"{attribute.name}, confidence {attribute.confidence:.2f}"
    rings = [polygon(contour.points) for contour in attribute.contours]
    outline = "".join("M" + " ".join(f"{x:.{DECIMALS}f},{y:.{DECIMALS}f}" for x, y in ring) + "Z" for ring in rings)
    drawn = {"d": outline, "fill-rule": "evenodd", "fill-opacity": OPACITY, "stroke-width": f"{unit:.2f}"}
    ET.SubElement(group, "path", drawn)
    for x, y in attribute.keypoints + CORNER:
        ET.SubElement(group, "circle", {"cx": f"{x:.2f}", "cy": f"{y:.2f}", "r": f"{1.5 * unit:.2f}", "stroke": "none"})

"""LabelMe: outlines as polygons to correct by hand; `labelme photos --output DIR/labelme` opens them.

LabelMe's polygons have no holes, so holes are cut out through slits. All parts of a face share one `group_id`, so that
LabelMe's converters merge the parts of an attribute into one instance.

Reference: https://github.com/wkentaro/labelme, labelme/_label_file.py of 6.3.1.
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np

from facekp.files import to_json
from facekp.formats.base import FORMATS, Format, Photo, as_text, polygon
from facekp.keypoints.contour import Contour
from facekp.keypoints.curves import Points, rounded
from facekp.parsing.face import Face

VERSION: Final = "5.0.0"  # the first LabelMe with this file format


@FORMATS.register("labelme")
class LabelMe(Format):
    """One file per photo, in its own folder because LabelMe looks for NAME.json, the name of facekp's own JSON."""

    file = "labelme/NAME.json"
    help = "outlines to correct by hand in LabelMe"
    # LabelMe keeps unknown keys but writes them last, so a corrected file no longer matches.
    mark = rb'\{\s+"generator": "facekp"'

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the JSON object."""
        height, width = photo.size
        shapes = [
            {
                "label": attribute.name,
                "points": rounded(ring).tolist(),
                "group_id": number,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for number, face in enumerate(faces)
            for attribute in face.attributes.values()
            for ring in keyholed(attribute.contours)
        ]
        content: dict[str, Any] = {
            "generator": "facekp",
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": as_text(photo.path_from((photo.stem.parent / self.file).parent)),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        return to_json(content, indent=True)


def keyholed(contours: Sequence[Contour]) -> list[Points]:
    """Return one polygon (m, 2) per part, with its holes cut out through slits of zero width.

    Every fill rule leaves such holes empty. A slit joins the nearest vertices of a hole and of the part around it.
    """
    rings = [polygon(c.points) for c in contours if not c.hole]
    for hole in (polygon(c.points) for c in contours if c.hole):
        around = int(np.argmax([cv2.pointPolygonTest(ring, hole[0].tolist(), True) for ring in rings]))
        ring = rings[around]
        apart = np.square(ring[:, None] - hole[None]).sum(2)
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        rings[around] = np.concatenate([ring[: i + 1], hole[j:], hole[: j + 1], ring[i:]])
    return rings

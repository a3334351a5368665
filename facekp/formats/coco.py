"""COCO: one `annotations.json` of all photos of a run, with masks and key points, for pycocotools.

An attribute without holes is written as polygons, one with holes as an uncompressed run-length code, because COCO's
polygons have no holes. Key points are pixel indices, as in COCO: the centre of the top left pixel is (0, 0). Polygons
and boxes start at its corner.

Reference: https://cocodataset.org/#format-data; pycocotools 2.0.11, mask.py and common/maskApi.c.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.files import from_json, to_json
from facekp.formats.base import FORMATS, Format, FormatOptions, Photo, RunFormat, as_text, polygon
from facekp.keypoints.curves import rounded
from facekp.parsing.attribute import Attribute
from facekp.parsing.face import Face

VISIBLE: Final = 2


@FORMATS.register("coco")
class Coco(RunFormat):
    """One file with an image record per photo and an annotation per attribute; `classes` are the categories."""

    file = "annotations.json"
    help = "masks, boxes and key points of all photos, for pycocotools"
    mark = rb'\{"info":\{"description":"facekp"'

    def __init__(self, classes: Classes = CELEBAMASK_HQ) -> None:
        self.classes = classes

    @classmethod
    def open(cls, options: FormatOptions) -> Sequence[Format]:
        """Return the writer with the classes of the options."""
        return [cls(options.classes)]

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the photo's image record and annotations, without ids: `join` numbers them."""
        height, width = photo.size
        annotations = [
            {"face": number, **_annotation(face, attribute)}
            for number, face in enumerate(faces)
            for attribute in face.attributes.values()
        ]
        image = {"file_name": as_text(photo.file), "height": height, "width": width}
        return to_json({"image": image, "annotations": annotations})

    def join(self, pieces: Sequence[Path], out: BinaryIO) -> None:
        """Number images and annotations from 1 and write them one by one."""
        points = 0

        def annotations() -> Iterator[dict[str, Any]]:
            nonlocal points
            for image_id, piece in enumerate(pieces, 1):
                for annotation in from_json(piece.read_bytes())["annotations"]:
                    points = max(points, annotation["num_keypoints"])
                    yield {"image_id": image_id, **annotation}

        out.write(b'{"info":{"description":"facekp"},"licenses":[],"images":[')
        _write_list(out, (from_json(piece.read_bytes())["image"] for piece in pieces))
        out.write(b'],"annotations":[')
        _write_list(out, annotations())
        ring = [[i + 1, (i + 1) % points + 1] for i in range(points)]
        categories = [
            {
                "id": i,
                "name": name,
                "supercategory": "face",
                "keypoints": [f"{name}_{k}" for k in range(points)],
                "skeleton": ring,
            }
            for i, name in enumerate(self.classes.names)
            if i
        ]
        out.write(b'],"categories":' + to_json(categories) + b"}\n")


def _write_list(out: BinaryIO, items: Iterable[dict[str, Any]]) -> None:
    """Write items with ids from 1, one at a time."""
    for i, item in enumerate(items, 1):
        out.write((b",\n" if i > 1 else b"\n") + to_json({"id": i, **item}))


def _annotation(face: Face, attribute: Attribute) -> dict[str, Any]:
    # The mask without the parts that are too small to have an outline.
    outlined = np.zeros(face.mask.shape, np.uint8)
    outer = [contour.points for contour in attribute.contours if not contour.hole]
    for part in outer:
        cv2.fillPoly(outlined, [part.round().astype(np.int32)], 1)
        # Smoothing moves corners inwards by less than a pixel.
        cv2.polylines(outlined, [part.round().astype(np.int32)], True, 1, thickness=3)
    mask: npt.NDArray[np.bool_] = (face.mask == attribute.id) & (outlined > 0)
    rings = [rounded(polygon(part)).ravel().tolist() for part in outer]
    keypoints = rounded(attribute.keypoints)
    return {
        "category_id": attribute.id,
        "segmentation": rings if len(outer) == len(attribute.contours) else run_lengths(mask),
        "area": int(np.count_nonzero(mask)),
        "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
        "iscrowd": 0,
        "score": round(attribute.confidence, 4),
        "num_keypoints": len(keypoints),
        "keypoints": [value for point in keypoints.tolist() for value in (*point, VISIBLE)],
    }


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return the uncompressed run-length code of a mask (H, W) bool: runs of 0, 1, 0, ... down its columns.

    Example:
        >>> run_lengths(np.array([[False, True], [False, True], [True, False]]))
        {'size': [3, 2], 'counts': [2, 3, 1]}
    """
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(starts, prepend=0, append=flat.size).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}

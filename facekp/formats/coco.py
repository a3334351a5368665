"""COCO: one `annotations.json` of all photos of a run, with masks and key points, for pycocotools and all that use it.

An attribute without holes is written as polygons; with holes as an uncompressed run-length code, as polygons have none.
Key points are pixel indices, as in COCO: the centre of the top left pixel is (0, 0). Polygons and boxes start at its
corner.

Reference: https://cocodataset.org/#format-data; pycocotools 2.0.11, mask.py and common/maskApi.c.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
import numpy.typing as npt
import orjson

from facekp.classes import ATTRIBUTES
from facekp.formats.base import Photo, RunFormat, as_text
from facekp.formats.polygons import polygon
from facekp.keypoints.curves import rounded
from facekp.parsing.attribute import Attribute
from facekp.parsing.face import Face

VISIBLE: Final = 2


def _piece(photo: Photo, faces: Sequence[Face]) -> bytes:
    """Return a photo's image record and annotations; they get their numbers when they are joined."""
    height, width = photo.size
    image = {"file_name": as_text(photo.file), "height": height, "width": width}
    annotations = [
        {"face": number, **_annotation(face, attribute)}
        for number, face in enumerate(faces)
        for attribute in face.attributes.values()
    ]
    return orjson.dumps({"image": image, "annotations": annotations})


def _annotation(face: Face, attribute: Attribute) -> dict[str, Any]:
    mask = own_pixels(face, attribute)
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    rings = [polygon(contour.points) for contour in attribute.contours if not contour.hole]
    whole = len(rings) == len(attribute.contours)
    keypoints = rounded(attribute.keypoints).tolist()
    return {
        "category_id": attribute.id,
        "segmentation": [rounded(ring).ravel().tolist() for ring in rings] if whole else run_lengths(mask),
        "area": int(np.count_nonzero(mask)),
        "bbox": [x, y, width, height],
        "iscrowd": 0,
        "score": round(attribute.confidence, 4),
        "num_keypoints": len(keypoints),
        "keypoints": [value for point in keypoints for value in (*point, VISIBLE)],
    }


def own_pixels(face: Face, attribute: Attribute) -> npt.NDArray[np.bool_]:
    """Return an attribute's mask (H, W) bool without the parts that were too small to have an outline."""
    outlined = np.zeros(face.mask.shape, np.uint8)
    for part in (contour.points.round().astype(np.int32) for contour in attribute.contours if not contour.hole):
        cv2.fillPoly(outlined, [part], 1)
        # Smoothing moved corners inwards by less than a pixel.
        cv2.polylines(outlined, [part], True, 1, thickness=3)
    own: npt.NDArray[np.bool_] = (face.mask == attribute.id) & (outlined > 0)
    return own


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return COCO's uncompressed code of a mask (H, W) bool: runs of 0, 1, 0, ... down its columns.

    Example:
        >>> run_lengths(np.array([[False, True], [False, True], [True, False]]))
        {'size': [3, 2], 'counts': [2, 3, 1]}
    """
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(starts, prepend=0, append=flat.size).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def _join(pieces: Callable[[], Iterator[bytes]], path: Path) -> None:
    """Number images and annotations from 1 and write them one by one."""
    points = annotation_id = 0
    with path.open("wb") as file:
        file.write(b'{"info":{"description":"facekp"},"licenses":[],"images":[')
        _write_list(file, ({"id": i, **orjson.loads(piece)["image"]} for i, piece in enumerate(pieces(), 1)))
        file.write(b'],"annotations":[')

        def numbered() -> Iterator[dict[str, Any]]:
            nonlocal points, annotation_id
            for image_id, piece in enumerate(pieces(), 1):
                for annotation in orjson.loads(piece)["annotations"]:
                    annotation_id += 1
                    points = max(points, annotation["num_keypoints"])
                    yield {"id": annotation_id, "image_id": image_id, **annotation}

        _write_list(file, numbered())
        file.write(b'],"categories":' + orjson.dumps(categories(points)) + b"}\n")


def _write_list(file: BinaryIO, items: Iterator[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write((b",\n" if number else b"\n") + orjson.dumps(item))


def categories(points: int) -> list[dict[str, Any]]:
    """Return COCO's categories, with official ids, each with `points` key points NAME_0, NAME_1, ... in a ring."""
    ring = [[i + 1, (i + 1) % points + 1] for i in range(points)]
    return [
        {
            "id": i,
            "name": name,
            "supercategory": "face",
            "keypoints": [f"{name}_{k}" for k in range(points)],
            "skeleton": ring,
        }
        for i, name in enumerate(ATTRIBUTES)
        if i
    ]


COCO: Final = RunFormat("annotations.json", _piece, _join)

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
import orjson

from facekp.classes import ATTRIBUTES
from facekp.formats.base import FORMATS, Photo, RunFormat, as_text
from facekp.formats.polygons import polygon
from facekp.keypoints.curves import rounded
from facekp.parsing.attribute import Attribute
from facekp.parsing.face import Face

VISIBLE: Final = 2


@FORMATS.register("coco")
class Coco(RunFormat):
    """One file with an image record per photo and an annotation per attribute."""

    file = "annotations.json"
    help = "masks, boxes and key points of all photos, for pycocotools"

    def encode(self, photo: Photo, faces: Sequence[Face]) -> bytes:
        """Return the photo's image record and annotations, without ids: `join` numbers them."""
        height, width = photo.size
        annotations = [
            {"face": number, **_annotation(face, attribute)}
            for number, face in enumerate(faces)
            for attribute in face.attributes.values()
        ]
        image = {"file_name": as_text(photo.file), "height": height, "width": width}
        return orjson.dumps({"image": image, "annotations": annotations})

    def join(self, pieces: Sequence[Path], out: BinaryIO) -> None:
        """Number images and annotations from 1 and write them one by one."""
        out.write(b'{"info":{"description":"facekp"},"licenses":[],"images":[')
        _write_list(out, ({"id": i, **_load(piece)["image"]} for i, piece in enumerate(pieces, 1)))
        out.write(b'],"annotations":[')
        points = 0

        def annotations() -> Iterator[dict[str, Any]]:
            nonlocal points
            for image_id, piece in enumerate(pieces, 1):
                for annotation in _load(piece)["annotations"]:
                    points = max(points, annotation["num_keypoints"])
                    yield {"image_id": image_id, **annotation}

        _write_list(out, ({"id": i, **annotation} for i, annotation in enumerate(annotations(), 1)))
        out.write(b'],"categories":' + orjson.dumps(categories(points)) + b"}\n")


def _load(piece: Path) -> Any:
    return orjson.loads(piece.read_bytes())


def _write_list(out: BinaryIO, items: Iterable[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        out.write((b",\n" if number else b"\n") + orjson.dumps(item))


def _annotation(face: Face, attribute: Attribute) -> dict[str, Any]:
    mask = outlined_pixels(face, attribute)
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    rings = [polygon(contour.points) for contour in attribute.contours if not contour.hole]
    has_holes = len(rings) < len(attribute.contours)
    keypoints = rounded(attribute.keypoints).tolist()
    return {
        "category_id": attribute.id,
        "segmentation": run_lengths(mask) if has_holes else [rounded(ring).ravel().tolist() for ring in rings],
        "area": int(np.count_nonzero(mask)),
        "bbox": [x, y, width, height],
        "iscrowd": 0,
        "score": round(attribute.confidence, 4),
        "num_keypoints": len(keypoints),
        "keypoints": [value for point in keypoints for value in (*point, VISIBLE)],
    }


def outlined_pixels(face: Face, attribute: Attribute) -> npt.NDArray[np.bool_]:
    """Return an attribute's mask (H, W) bool without the parts that are too small to have an outline."""
    outlined = np.zeros(face.mask.shape, np.uint8)
    for part in (contour.points.round().astype(np.int32) for contour in attribute.contours if not contour.hole):
        cv2.fillPoly(outlined, [part], 1)
        # Smoothing moves corners inwards by less than a pixel.
        cv2.polylines(outlined, [part], True, 1, thickness=3)
    pixels: npt.NDArray[np.bool_] = (face.mask == attribute.id) & (outlined > 0)
    return pixels


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return COCO's uncompressed code of a mask (H, W) bool: lengths of the runs of 0, 1, 0, ... down its columns.

    Example:
        >>> run_lengths(np.array([[False, True], [False, True], [True, False]]))
        {'size': [3, 2], 'counts': [2, 3, 1]}
    """
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(starts, prepend=0, append=flat.size).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def categories(points: int) -> list[dict[str, Any]]:
    """Return COCO's categories: official ids, each with `points` key points NAME_0, NAME_1, ... joined in a ring."""
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

"""Synthetic faces with all 19 classes, written in CelebAMask-HQ's official layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from facekp.cli import Progress
from facekp.data.layout import OFFICIAL_IMAGES, OFFICIAL_MAPPING, OFFICIAL_MASKS, SPLITS
from facekp.data.synthetic import REVISION
from facekp.data.synthetic.portrait import Portrait
from facekp.errors import DataError
from facekp.files import ANOTHER, make_folder, write_file

FIRST_NUMBER = {"train": 1, "val": 162771, "test": 182638}  # the number in orig_file determines the split
SETTINGS = "synthetic.json"  # describes the faces of a folder
IMAGES_PER_FOLDER = 2000


class SyntheticFace(NamedTuple):
    """A drawn face: `image` (S, S, 3) uint8 RGB, and `masks`, (S, S) bool by visible attribute (see `Canvas.masks`)."""

    image: npt.NDArray[np.uint8]
    masks: dict[str, npt.NDArray[np.bool_]]


def draw_face(seed: int, size: int = 512) -> SyntheticFace:
    """Draw the face of a seed (>= 0) on `size` x `size` pixels; the same arguments always give the same face."""
    face = Portrait(seed, size)
    # A camera's exposure, colour cast, blur and grain.
    rng = face.rng
    cast = rng.uniform(0.9, 1.15) * rng.normal(1, 0.018, (3, 1, 1))
    picture = cv2.GaussianBlur((face.image * cast).transpose(1, 2, 0), (0, 0), rng.uniform(0.0008, 0.0025) * size)
    grain = rng.uniform(0.002, 0.016) * rng.standard_normal((size, size, 1))
    return SyntheticFace(np.clip(255 * (picture + grain) + 0.5, 0, 255).astype(np.uint8), face.masks())


def write_synthetic(root: Path, counts: Mapping[str, int], seed: int = 0, size: int = 512) -> None:
    """Draw faces into a folder in CelebAMask-HQ's official layout.

    An interrupted call can be repeated with the same arguments: finished faces are kept. `counts` is the number of
    faces by split, `train`, `val` and `test`; `size` is the side of the images and masks, pixels. Faces differ between
    seeds and between splits.

    Raises:
        DataError: a folder that cannot be written, or that holds other images.
    """
    counts = {split: counts.get(split, 0) for split in SPLITS}
    images, wanted = root / OFFICIAL_IMAGES, json.dumps(dict(counts=counts, seed=seed, size=size, revision=REVISION))
    found = (root / SETTINGS).read_text(encoding="utf-8") if (root / SETTINGS).is_file() else ""
    if found and found != wanted:
        raise DataError(f"folder '{root}': holds faces drawn with {found}, not {wanted}; remove it, or {ANOTHER}")
    theirs = [images, root / OFFICIAL_MASKS, root / OFFICIAL_MAPPING] if not found else []
    if any(path.is_file() or (path.is_dir() and any(path.iterdir())) for path in theirs):
        raise DataError(f"folder '{root}': holds images that were not drawn; {ANOTHER}")
    make_folder(images)
    write_file(root / SETTINGS, wanted)
    numbers = [FIRST_NUMBER[split] + k for split in SPLITS for k in range(counts[split])]
    for folder in range(-(-len(numbers) // IMAGES_PER_FOLDER)):
        (root / OFFICIAL_MASKS / str(folder)).mkdir(parents=True, exist_ok=True)
    seeds = np.random.SeedSequence(seed).generate_state(max(1, len(numbers)), np.uint64)
    # Threads: OpenCV and numpy release the interpreter lock, and processes would first import torch.
    bar = Progress(range(len(numbers)), desc="drawing faces", unit="face")
    from joblib import Parallel, delayed  # `draw_face` alone does without

    Parallel(-1, backend="threading")(delayed(_write_face)(root, index, int(seeds[index]), size) for index in bar)
    rows = ["idx orig_idx orig_file", *(f"{i} {number - 1} {number:06d}.jpg" for i, number in enumerate(numbers))]
    write_file(root / OFFICIAL_MAPPING, "\n".join(rows) + "\n")


def _write_face(root: Path, index: int, seed: int, size: int) -> None:
    image = root / OFFICIAL_IMAGES / f"{index}.jpg"
    if image.exists():
        return
    face = draw_face(seed, size)
    for name, mask in face.masks.items():
        path = root / OFFICIAL_MASKS / str(index // IMAGES_PER_FOLDER) / f"{index:05d}_{name}.png"
        path.write_bytes(cv2.imencode(".png", np.uint8(255) * mask)[1].tobytes())
    # The image is written last and atomically, so a face that has one is finished.
    write_file(image, cv2.imencode(".jpg", face.image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes())

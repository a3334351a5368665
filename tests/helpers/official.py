"""A small data set in the official CelebAMask-HQ layout, which several test files prepare."""

from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from facekp.files import LOCK

IMAGES, MASKS, MAPPING = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebA-HQ-to-CelebA-mapping.txt"
SIDE = 64
ORIG_FILES = ("000001.jpg", "162770.jpg", "162771.jpg", "182637.jpg", "182638.jpg", "202599.jpg")
SPLITS = ("train", "train", "val", "val", "test", "test")
# Row ranges and column ranges of each mask; they overlap on purpose.
BOXES = {
    "hair": (0, 32, 0, 64),
    "skin": (16, 64, 16, 48),
    "nose": (30, 40, 28, 36),
    "l_eye": (24, 28, 36, 44),
    "hat": (0, 8, 20, 44),
}


def write_mask(path: Path, box: tuple[int, int, int, int], channels: int = 3, side: int = SIDE) -> None:
    """Write a mask that is 255 in `box`: first and last row, first and last column."""
    mask = np.zeros((side, side), np.uint8)
    mask[box[0] : box[1], box[2] : box[3]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask if channels == 1 else np.dstack([mask] * 3)).save(path, format="PNG")


def write_official(root: Path, header: bool = True, faces: int = 6) -> Path:
    """Write noisy images; odd ones have one-channel masks and no hat, of each six the last two upper-case suffixes."""
    (root / IMAGES).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(faces):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(picture).save(root / IMAGES / f"{i}.{'JPG' if i % 6 > 3 else 'jpg'}", format="JPEG", quality=95)
        for name, box in BOXES.items():
            if i % 2 == 0 or name != "hat":
                suffix = "PNG" if i % 6 > 3 else "png"
                write_mask(root / MASKS / str(i // 3) / f"{i:05d}_{name}.{suffix}", box, channels=1 if i % 2 else 3)
    rows = [f"{i}          {int(orig[:6]) - 1}     {orig}" for i, orig in enumerate(islice(cycle(ORIG_FILES), faces))]
    lines = ["idx  orig_idx  orig_file", *rows] if header else rows
    (root / MAPPING).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Return every file below `root` but its lock, hidden ones too."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def expected_label(hat: bool) -> np.ndarray:
    """Paint by hand in the order of ids: skin 1, nose 2, l_eye 4, hair 13, hat 14."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[16:64, 16:48] = 1
    label[30:40, 28:36] = 2  # rows 30 and 31 go to the hair below
    label[0:32, :] = 13  # covers the eye too
    if hat:
        label[0:8, 20:44] = 14
    return label

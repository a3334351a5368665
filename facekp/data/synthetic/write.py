"""Synthetic faces with all 19 classes, in CelebAMask-HQ's official layout: `python -m facekp.data.synthetic out=DIR`.

They let everything run on a machine that has no data set. They are for trying and testing, never for claims.
"""

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from omegaconf import MISSING
from tqdm import tqdm

from facekp.cli import parse_cli
from facekp.data.layout import OFFICIAL_IMAGES, OFFICIAL_MAPPING, OFFICIAL_MASKS, SPLITS
from facekp.data.synthetic import REVISION
from facekp.data.synthetic.accessories import paint_earrings, paint_glasses, paint_hat
from facekp.data.synthetic.canvas import Canvas
from facekp.data.synthetic.clothes import paint_background, paint_cloth, paint_neck, paint_necklace
from facekp.data.synthetic.features import paint_brows, paint_ears, paint_eyes, paint_mouth, paint_nose, paint_skin
from facekp.data.synthetic.geometry import sample_face
from facekp.data.synthetic.hair import paint_back_hair, paint_front_hair
from facekp.data.synthetic.light import paint_light
from facekp.errors import ConfigError, DataError, one_line_errors
from facekp.files import ANOTHER, expand, replacing, writing

FIRST_NUMBER = {"train": 1, "val": 162771, "test": 182638}
"""The number in orig_file tells the split; these are the first of each."""
SETTINGS = "synthetic.json"
"""Says what the faces in a folder were drawn from."""
IMAGES_PER_FOLDER = 2000
JPEG_QUALITY = 95


@dataclass(frozen=True)
class SyntheticFace:
    """A drawn face.

    Attributes:
        image: (S, S, 3) uint8, RGB.
        masks: (S, S) bool for each attribute that can be seen. They overlap (skin goes on beneath the eyes); painted
            in the order of the class ids they give the label of what the picture shows.
    """

    image: npt.NDArray[np.uint8]
    masks: dict[str, npt.NDArray[np.bool_]]


def draw_face(seed: int, size: int = 512) -> SyntheticFace:
    """Draw one face, always the same for the same seed and size.

    Args:
        seed: any whole number >= 0.
        size: side of the picture, pixels.
    """
    rng = np.random.default_rng(seed)
    face = sample_face(rng)
    origin = (rng.normal(0.5, 0.012), rng.normal(0.47, 0.01))
    canvas = Canvas(size, origin, unit=rng.normal(0.25, 0.008), roll=rng.normal(0, 0.04))
    # From back to front.
    paint_background(canvas, rng)
    skin, glow = paint_light(canvas, face, rng)
    paint_back_hair(canvas, face, rng, glow)
    paint_neck(canvas, face, glow)
    paint_cloth(canvas, face, rng, glow)
    if face.necklace:
        paint_necklace(canvas, face, rng)
    paint_ears(canvas, face, glow)
    paint_skin(canvas, face, skin, rng)
    paint_nose(canvas, face)
    paint_mouth(canvas, face, glow)
    paint_eyes(canvas, face, rng)
    paint_brows(canvas, face, rng)
    if face.glasses:
        paint_glasses(canvas, face, rng)
    paint_front_hair(canvas, face, rng, glow)
    if face.earrings:
        paint_earrings(canvas, face, rng)
    if face.hat:
        paint_hat(canvas, face, rng, glow)
    return SyntheticFace(_photograph(canvas.image, rng), canvas.masks())


def _photograph(scene: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return a scene, (S, S, 3) 0..1, as a camera would: contrast, colour cast, a little blur and grain."""
    size = len(scene)
    contrast = rng.uniform(0.9, 1.12)
    gain = contrast * rng.uniform(0.88, 1.08) * rng.normal(1, 0.018, 3)
    # One pass: each channel times its gain, about middle grey.
    matrix = np.column_stack([np.diag(gain), np.full(3, 0.5 - 0.5 * contrast)]).astype(np.float32)
    picture = cv2.transform(np.clip(scene, 0, 1), matrix)
    blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.0008, 0.0025) * size)
    grain = rng.uniform(0.002, 0.016) * rng.standard_normal((size, size), dtype=np.float32)
    grainy = blurred + cv2.merge([grain] * 3)
    return np.asarray(np.clip(grainy * 255 + 0.5, 0, 255), np.uint8)


def write_synthetic(root: Path, counts: Mapping[str, int], seed: int = 0, size: int = 512) -> None:
    """Draw faces into a folder in CelebAMask-HQ's official layout.

    A call that was cut off can be made again with the same arguments: it keeps the faces that it had finished.

    Args:
        root: the folder, made where it is missing.
        counts: faces of each split, keys `train`, `val` and `test`.
        seed: other seeds give other faces, also between splits.
        size: side of the images and masks, pixels.

    Raises:
        DataError: a folder that cannot be written, or that holds other images.
    """
    root = Path(root)
    _claim(root, {"counts": {s: counts.get(s, 0) for s in SPLITS}, "seed": seed, "size": size, "revision": REVISION})
    numbers = [FIRST_NUMBER[split] + k for split in SPLITS for k in range(counts.get(split, 0))]
    for folder in {index // IMAGES_PER_FOLDER for index in range(len(numbers))}:
        (root / OFFICIAL_MASKS / str(folder)).mkdir(parents=True, exist_ok=True)
    seeds = np.random.SeedSequence(seed).generate_state(max(1, len(numbers)), np.uint64)
    # Threads: OpenCV and numpy let go of the interpreter lock, and a process would first import torch.
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        jobs = [pool.submit(_write_face, root, index, int(seeds[index]), size) for index in range(len(numbers))]
        for job in tqdm(jobs, desc="drawing faces", unit="face"):
            job.result()
    finally:
        # After Ctrl-C or a full disk the faces that are still waiting are not drawn first.
        pool.shutdown(cancel_futures=True)
    rows = ["idx orig_idx orig_file", *(f"{i} {number - 1} {number:06d}.jpg" for i, number in enumerate(numbers))]
    with replacing(root / OFFICIAL_MAPPING) as part:
        part.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _claim(root: Path, settings: Mapping[str, object]) -> None:
    """Make `root` the folder of the faces that `settings` describe."""
    path = root / SETTINGS
    wanted = json.dumps(settings)
    with writing(root / OFFICIAL_IMAGES):
        (root / OFFICIAL_IMAGES).mkdir(parents=True, exist_ok=True)
    if path.is_file():
        found = path.read_text(encoding="utf-8")
        if found != wanted:
            raise DataError(f"folder '{root}': holds faces drawn with {found}, not {wanted}; remove it, or {ANOTHER}")
    elif any((root / OFFICIAL_IMAGES).iterdir()):
        raise DataError(f"folder '{root}': holds images that were not drawn; {ANOTHER}")
    with replacing(path) as part:
        part.write_text(wanted, encoding="utf-8")


def _write_face(root: Path, index: int, seed: int, size: int) -> None:
    image = root / OFFICIAL_IMAGES / f"{index}.jpg"
    if image.exists():
        return
    face = draw_face(seed, size)
    folder = root / OFFICIAL_MASKS / str(index // IMAGES_PER_FOLDER)
    for name, mask in face.masks.items():
        (folder / f"{index:05d}_{name}.png").write_bytes(_encoded(".png", mask.astype(np.uint8) * np.uint8(255)))
    # The image comes last and appears all at once, so a face that has one is finished.
    with replacing(image) as part:
        part.write_bytes(_encoded(".jpg", face.image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)))


def _encoded(suffix: str, picture: npt.NDArray[np.uint8], settings: tuple[int, ...] = ()) -> bytes:
    return cv2.imencode(suffix, picture, settings)[1].tobytes()


@dataclass
class SyntheticConfig:
    """How many faces are drawn, and where to."""

    out: str = field(default=MISSING, metadata={"help": "folder for the faces, in CelebAMask-HQ's official layout"})
    train: int = field(default=320, metadata={"help": "faces of the training split"})
    val: int = field(default=48, metadata={"help": "faces of the validation split"})
    test: int = field(default=16, metadata={"help": "faces of the test split"})
    seed: int = field(default=0, metadata={"help": "another seed gives other faces"})
    size: int = field(default=512, metadata={"help": "side of the images, pixels"})

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, least in (("train", 0), ("val", 0), ("test", 0), ("seed", 0), ("size", 64)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: give {least} or more")


def main(argv: list[str]) -> None:
    """Draw what `argv` asks for."""
    config = parse_cli(SyntheticConfig, argv, program="python -m facekp.data.synthetic", about=__doc__ or "")
    counts = {split: getattr(config, split) for split in SPLITS}
    write_synthetic(expand(config.out), counts, config.seed, config.size)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

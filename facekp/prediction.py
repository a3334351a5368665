"""Parsing files: which pictures a source names, and what is written for each."""

import glob
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING
from PIL import Image
from tqdm import tqdm

from facekp.config import expand
from facekp.errors import DataError
from facekp.face import Face
from facekp.folder import replacing
from facekp.images import UInt8Array, palette_image
from facekp.keypoints import KeypointConfig
from facekp.overlay import draw_overlay
from facekp.parser import FaceParser, to_array

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What is taken from a folder; a file or a glob may name any picture that Pillow reads."""
MASK, OVERLAY, JSON = ".mask.png", ".overlay.jpg", ".json"
"""How the names of a photo's results end."""


@dataclass
class PredictConfig:
    """What to parse, with which network, and where the results go."""

    ckpt: str = field(
        default=MISSING, metadata={"help": "checkpoint that train.py wrote, such as RUN/checkpoints/best.ckpt"}
    )
    source: str = field(default=MISSING, metadata={"help": "a photo, a folder of photos, or a quoted glob"})
    out: str = field(default=MISSING, metadata={"help": "folder for NAME.mask.png, NAME.overlay.jpg and NAME.json"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    overlay: bool = field(default=True, metadata={"help": "write the overlay too"})
    keypoints: KeypointConfig = field(default_factory=KeypointConfig)


def find_images(source: str) -> list[Path]:
    """List the pictures that `source` names, sorted.

    Args:
        source: a file, a folder (searched one level deep), or a glob pattern.

    Raises:
        DataError: nothing there.
    """
    path = expand(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not _is_result(p))
        if not found:
            raise DataError(f"source '{source}': a folder without pictures ({', '.join(SUFFIXES)}); name another")
        return found
    matches = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file() and not _is_result(p))
    if not matches:
        raise DataError(f"source '{source}': no such file or folder, and no file matches it; check the path")
    return matches


def _is_result(path: Path) -> bool:
    """Tell whether an earlier call wrote the file: results may lie beside the photos."""
    return path.name.endswith((MASK, OVERLAY))


def output_names(images: Sequence[Path]) -> list[str]:
    """Return a name for each image's results: its stem, or more of its path where two have the same.

    Example:
        >>> output_names([Path("a/1.jpg"), Path("a/1.png"), Path("a/2.jpg")])
        ['1.jpg', '1.png', '2']
        >>> output_names([Path("../a/1.jpg"), Path("../b/1.jpg")])
        ['a_1.jpg', 'b_1.jpg']
    """
    stems = Counter(path.stem for path in images)
    names = [path.name if stems[path.stem] > 1 else path.stem for path in images]
    seen = Counter(names)
    if len(seen) == len(names):
        return names
    # A recursive glob found one name in several folders.
    root = os.path.commonpath([path.parent for path in images])
    return [
        "_".join(path.relative_to(root).parts) if seen[name] > 1 else name
        for path, name in zip(images, names, strict=True)
    ]


def parse_files(parser: FaceParser, images: Sequence[Path], out: Path, *, overlay: bool = True) -> list[str]:
    """Parse every image and write its results; a file that cannot be read is told and skipped.

    Args:
        parser: what parses.
        images: what is parsed.
        out: folder for the results, see `write_face`.
        overlay: whether the overlay is written.

    Returns:
        One message for each image that was skipped.
    """
    failures = []
    named = list(zip(images, output_names(images), strict=True))
    for path, name in tqdm(named, unit="image", desc="parsing", disable=len(named) == 1):
        try:
            array = to_array(path)
        except DataError as error:
            failures.append(str(error))
            tqdm.write(f"skipped: {error}")
            continue
        (face,) = parser(array)
        write_face(out / name, array, face, source=path, overlay=overlay)
    return failures


def write_face(stem: Path, image: UInt8Array, face: Face, *, source: Path, overlay: bool) -> None:
    """Write `STEM.mask.png`, `STEM.overlay.jpg` and, when those are whole, `STEM.json`.

    Args:
        stem: folder and name.
        image: (H, W, 3) uint8 RGB, what was parsed.
        face: the result.
        source: path that the JSON names.
        overlay: whether the overlay is written.
    """
    with replacing(stem.with_name(stem.name + MASK)) as part:
        palette_image(face.mask).save(part, format="PNG", optimize=True)
    if overlay:
        with replacing(stem.with_name(stem.name + OVERLAY)) as part:
            Image.fromarray(draw_overlay(image, face)).save(part, format="JPEG", quality=92)
    content = json.dumps({"source": str(source), **face.to_dict()}, separators=(",", ":"))
    with replacing(stem.with_name(stem.name + JSON)) as part:
        part.write_text(content + "\n", encoding="utf-8")

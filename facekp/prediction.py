"""Which pictures a source names, and what is written for each."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import orjson
from omegaconf import MISSING
from PIL import Image

from facekp.backends import BACKENDS
from facekp.config import expand, require
from facekp.detect import HAAR
from facekp.errors import DataError
from facekp.face import SCHEMA, Face, merge_masks
from facekp.folder import replacing
from facekp.images import UInt8Array, palette_image
from facekp.keypoints import KeypointConfig
from facekp.overlay import draw_overlay
from facekp.parser import ALIGNS

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What is taken from a folder; a file or a glob may name any picture that Pillow reads."""
MASK, OVERLAY, JSON = ".mask.png", ".overlay.jpg", ".json"
"""How the names of a photo's results end."""


@dataclass
class PredictConfig:
    """What to parse, with which network, and where the results go."""

    ckpt: str = field(
        default=MISSING, metadata={"help": "RUN/checkpoints/best.ckpt, or the .onnx file that facekp.export made of it"}
    )
    source: str = field(default=MISSING, metadata={"help": "a photo, a folder of photos, or a quoted glob"})
    out: str = field(default=MISSING, metadata={"help": "folder for NAME.mask.png, NAME.overlay.jpg and NAME.json"})
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    devices: int = field(default=1, metadata={"help": "how many GPUs (or CPU processes) share the images"})
    align: str = field(
        default="auto", metadata={"help": "auto: look for faces; none: the whole photo is one, framed as in CelebA-HQ"}
    )
    detector: str = field(default=HAAR, metadata={"help": "what looks: haar, or the path of a YuNet .onnx file"})
    overlay: bool = field(default=True, metadata={"help": "write the overlay too"})
    keypoints: KeypointConfig = field(default_factory=KeypointConfig)

    def __post_init__(self) -> None:
        """Check values."""
        require("backend", self.backend, self.backend in BACKENDS, f"choose one of {', '.join(BACKENDS)}")
        require("align", self.align, self.align in ALIGNS, f"choose one of {', '.join(ALIGNS)}")
        require("devices", self.devices, self.devices >= 1, "give at least 1")


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
    names = [
        "_".join(path.relative_to(root).parts) if seen[name] > 1 else name
        for path, name in zip(images, names, strict=True)
    ]
    taken: set[str] = set()
    for i, name in enumerate(names):  # x_y/1.jpg and x/y_1.jpg
        names[i] = next(n for n in chain([name], (f"{name}_{k}" for k in count(2))) if n not in taken)
        taken.add(names[i])
    return names


def write_faces(stem: Path, image: UInt8Array, faces: Sequence[Face], source: Path, *, overlay: bool) -> None:
    """Write `STEM.mask.png`, `STEM.overlay.jpg` and, when those are whole, `STEM.json`.

    Args:
        stem: folder and name.
        image: (H, W, 3) uint8 RGB, what was parsed.
        faces: the faces in it, the largest first; where masks overlap, the mask file has the largest one's.
        source: path that the JSON names.
        overlay: whether the overlay is written.
    """
    with replacing(stem.with_name(stem.name + MASK)) as part:
        palette_image(merge_masks(faces, image.shape[:2])).save(part, format="PNG")
    if overlay:
        with replacing(stem.with_name(stem.name + OVERLAY)) as part:
            Image.fromarray(draw_overlay(image, faces)).save(part, format="JPEG", quality=92)
    content = {
        "source": os.fsencode(source).decode("utf-8", "replace"),  # a file's name may be any bytes
        "schema": SCHEMA,
        "width": image.shape[1],
        "height": image.shape[0],
        "faces": [face.to_dict() for face in faces],
    }
    with replacing(stem.with_name(stem.name + JSON)) as part:
        part.write_bytes(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))

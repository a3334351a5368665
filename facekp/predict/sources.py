"""Which pictures a source names, and how their results are called."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path

from omegaconf import MISSING

from facekp.errors import ConfigError, DataError, require
from facekp.files import expand
from facekp.formats import PHOTO_FORMATS, RUN_FORMATS
from facekp.formats.pictures import MASK, OVERLAY
from facekp.formats.plain import JSON
from facekp.formats.svg import SVG
from facekp.formats.table import CSV
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.choices import ALIGNS, BACKENDS, HAAR
from facekp.predict.tracking import OneEuroConfig
from facekp.weights.paths import CKPT_HELP, SHIPPED

EXPORTS = (*PHOTO_FORMATS, *RUN_FORMATS)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What is taken from a folder; a file or a glob may name any picture that Pillow reads."""
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".wmv")
"""What is taken for a video, wherever it is named."""
CLIP, LINES = ".overlay.mp4", ".jsonl"
"""How the names of a video's results end."""
RESULTS = (MASK, OVERLAY, JSON, SVG, CSV.name, CLIP, LINES)
"""How the names of results end."""


@dataclass
class PredictConfig:
    """What to parse, with which network, and where the results go."""

    ckpt: str = field(default=SHIPPED, metadata={"help": CKPT_HELP})
    source: str = field(default=MISSING, metadata={"help": "a photo or video, a folder of them, or a quoted glob"})
    out: str = field(default=MISSING, metadata={"help": "folder for what is written, see docs/reference/formats.md"})
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    devices: int = field(default=1, metadata={"help": "how many GPUs (or CPU processes) share the images"})
    export: list[str] = field(
        default_factory=lambda: ["mask", "overlay", "json"],
        metadata={"help": f"what is written: any of {', '.join(EXPORTS)}"},
    )
    align: str = field(
        default="auto", metadata={"help": "auto: find the faces; none: each photo is one, framed as in CelebA-HQ"}
    )
    detector: str = field(default=HAAR, metadata={"help": "what finds them: haar, or the path of a YuNet .onnx file"})
    keypoints: KeypointConfig = field(default_factory=KeypointConfig)
    smooth: bool = field(default=True, metadata={"help": "smooth the key points and landmarks of videos over time"})
    one_euro: OneEuroConfig = field(default_factory=OneEuroConfig)

    def __post_init__(self) -> None:
        """Check values."""
        require("backend", self.backend, self.backend in BACKENDS, f"choose one of {', '.join(BACKENDS)}")
        require("align", self.align, self.align in ALIGNS, f"choose one of {', '.join(ALIGNS)}")
        require("devices", self.devices, self.devices >= 1, "give at least 1")
        for name in self.export or ["nothing"]:
            require("export", name, name in EXPORTS, f"choose from {', '.join(EXPORTS)}, as in export=[json,coco]")
        both = {"svg", "svg-embedded"} <= set(self.export)
        require("export", self.export, not both, "svg and svg-embedded write the same file: take one")


def find_images(source: str) -> list[Path]:
    """List the pictures and videos that `source` names, sorted.

    Args:
        source: a file, a folder (searched one level deep), or a glob pattern.

    Raises:
        DataError: nothing there, or nothing that may be read.
    """
    path = expand(source)
    try:
        if path.is_file():
            return [path]
        inside = sorted(path.iterdir()) if path.is_dir() else None
    except PermissionError as error:
        raise DataError(f"source '{source}': no permission to read it; allow it, or name another") from error
    except OSError as error:  # too long a name
        raise DataError(f"source '{source}': cannot be read ({error.strerror}); check the path") from error
    if inside is not None:
        found = [p for p in inside if _is_picture(p)]
        if not found:
            known = ", ".join(SUFFIXES + VIDEO_SUFFIXES)
            raise DataError(f"source '{source}': a folder without pictures or videos ({known}); name another")
        return found
    # A link to nowhere is no folder, and is told of later.
    matched = sorted(map(Path, glob.glob(str(path), recursive=True)))
    matches = [p for p in matched if _is_picture(p) or not (p.is_dir() or _is_result(p))]
    if not matches:
        raise DataError(f"source '{source}': no such file or folder, and no file matches it; check the path")
    return matches


def _is_picture(path: Path) -> bool:
    """Tell whether a path is called as a picture or a video is that no earlier call wrote, and is not hidden."""
    return not path.name.startswith(".") and path.suffix.lower() in SUFFIXES + VIDEO_SUFFIXES and not _is_result(path)


def _is_result(path: Path) -> bool:
    """Tell whether an earlier call wrote the file: results may lie beside the photos."""
    return path.name.endswith(RESULTS)


def is_video(path: Path) -> bool:
    """Tell by its suffix whether a file is a video.

    Example:
        >>> is_video(Path("IMG_1.MOV")), is_video(Path("IMG_1.JPG"))
        (True, False)
    """
    return path.suffix.lower() in VIDEO_SUFFIXES


def require_pyav(files: Sequence[Path]) -> None:
    """Raise ConfigError where there is a video among `files` and nothing that reads it."""
    video = next(filter(is_video, files), None)
    if video and find_spec("av") is None:
        raise ConfigError(f"video {video}: needs PyAV: pip install -e '.[video]', or name the photos alone, as '*.jpg'")


def output_names(images: Sequence[Path]) -> list[str]:
    """Return a name for each image's results: its stem, or more of its path where that is taken.

    Example:
        >>> output_names([Path("a/1.jpg"), Path("a/1.png"), Path("a/2.jpg")])
        ['1.jpg', '1.png', '2']
        >>> output_names([Path("annotations.jpg")])  # COCO's file is annotations.json
        ['annotations.jpg']
        >>> output_names([Path("../a/1.jpg"), Path("../b/1.jpg")])
        ['a_1.jpg', 'b_1.jpg']
    """
    stems = Counter(path.stem for path in images)
    reserved = {Path(form.name).stem for form in RUN_FORMATS.values()}
    names = [path.name if stems[path.stem] > 1 or path.stem in reserved else path.stem for path in images]
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

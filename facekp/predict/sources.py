"""Finding the photos and videos of a source, and naming their results."""

import glob
import mimetypes
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from facekp.errors import ConfigError, DataError
from facekp.files import Recognise, begins_with, contains, expand
from facekp.formats.base import RunFormat, all_formats
from facekp.images import CONVERT_HEIC, HEIC
from facekp.parsing.face import MARK

SUFFIXES: Final = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2",
)  # fmt: skip
"""Suffixes of photos found in a folder; a file or a glob may name any picture that Pillow reads."""
VIDEO_SUFFIXES: Final = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp", ".wmv",
)  # fmt: skip
"""Suffixes of videos."""
CAMERA: Final = "source '{}': cameras are not read; give a video file, or the address of a stream"
Source = Path | str  # a photo's or video's file, or the address of a stream
CLIP, LINES, MATTE = ".overlay.mp4", ".jsonl", ".alpha.mp4"  # a video's results; the last follows a region's name
CLIP_MARK: Final = b"Written by facekp"  # the comment in a clip
RESULTS: Final = (*(form.ending for form in all_formats().values()), CLIP, LINES, MATTE)  # endings of all results


def find_images(source: str) -> Sequence[Source]:
    """List the photos and videos that `source` names, sorted; results of earlier runs are left out.

    It is a file, a folder (searched one level deep), a glob pattern, or the address of a stream.

    Raises:
        DataError: no such file, or no permission to read it.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE):
        return [source]
    path = expand(source)
    try:
        if path.is_file():
            return [_require_readable(path)]
        if path.is_char_device():
            raise DataError(CAMERA.format(source))
        inside = sorted(path.iterdir()) if path.is_dir() else None
    except PermissionError as error:
        raise DataError(f"source '{source}': no permission to read it; allow it, or name another") from error
    except OSError as error:  # the name is too long
        raise DataError(f"source '{source}': cannot be read ({error.strerror}); check the path") from error
    if inside is not None:
        if found := [p for p in inside if _is_picture(p)]:
            _report_rest(source, inside)
            return found
        known = ", ".join(SUFFIXES + VIDEO_SUFFIXES)
        remedy = CONVERT_HEIC if any(p.suffix.lower() in HEIC for p in inside) else "name another"
        raise DataError(f"source '{source}': a folder without pictures or videos ({known}); {remedy}")
    # `**` matches its folder, which may be missing.
    matched = sorted(p for p in map(Path, glob.glob(_literal_folder(path), recursive=True)) if os.path.lexists(p))
    # Broken symlinks are kept: reading them later reports the error.
    matches = [p for p in matched if _is_picture(p) or not (p.is_dir() or p.name.endswith(RESULTS))]
    if not matches:
        if source.isdecimal():
            raise DataError(CAMERA.format(source))
        raise DataError(f"source '{source}': no such file or folder, and no file matches it; check the path")
    return matches


def _require_readable(path: Path) -> Path:
    """Return a file that the user has named, unless its kind is known and cannot be read."""
    suffix = path.suffix.lower()
    if suffix in HEIC:
        raise DataError(f"source '{path}': {CONVERT_HEIC}")
    if (mimetypes.guess_type(path)[0] or "").startswith("video/") and suffix not in VIDEO_SUFFIXES:
        known = ", ".join(VIDEO_SUFFIXES)
        raise DataError(f"source '{path}': not a kind of video that can be read ({known}); convert it to .mp4")
    return path


def _report_rest(folder: str, inside: Sequence[Path]) -> None:
    """Print how many files of a folder are not taken, by suffix, and how many subfolders."""
    rest = [p for p in inside if not (_is_picture(p) or p.name.startswith(".") or p.name.endswith(RESULTS))]
    kinds = Counter("subfolder" if p.is_dir() else p.suffix.lower() or "no suffix" for p in rest)
    if kinds:
        advice = f"; {CONVERT_HEIC}" if any(kind in HEIC for kind in kinds) else ""
        advice += f"; '{folder}/**/*.jpg' names photos in subfolders" if "subfolder" in kinds else ""
        counts = ", ".join(f"{times} {kind}" for kind, times in kinds.items())
        print(f"source '{folder}': not read: {counts}{advice}", file=sys.stderr)


def _literal_folder(path: Path) -> str:
    """Return a glob pattern that takes the folders of `path` that exist as they stand, up to the first wildcard."""
    exists = [folder for folder in path.parents if folder.is_dir()]
    folder = exists[0] if exists else Path()
    return os.path.join(glob.escape(str(folder)), path.relative_to(folder))


def _is_picture(path: Path) -> bool:
    """Return whether a file has a photo's or video's suffix, is not hidden, and is not a result of an earlier run.

    Pipes and devices are none: reading them may never end.
    """
    name, known = path.name, path.suffix.lower() in SUFFIXES + VIDEO_SUFFIXES
    if name.startswith(".") or not known or name.endswith(RESULTS):
        return False
    return os.path.isfile(path) or os.path.isdir(path) or not os.path.exists(path)


def share(files: Sequence[Source], shard: str | None) -> list[Source]:
    """Return every N-th photo and every N-th video from the K-th on, for a `shard` of "K/N"; None takes all.

    Example:
        >>> [str(path) for path in share([Path("a.jpg"), Path("b.mp4"), Path("c.jpg"), Path("d.jpg")], "1/2")]
        ['a.jpg', 'b.mp4', 'd.jpg']
    """
    k, n = map(int, (shard or "1/1").split("/"))
    photos, videos = ([f for f in files if is_video(f) is kind] for kind in (False, True))
    own = {*photos[k - 1 :: n], *videos[k - 1 :: n]}
    return [f for f in files if f in own]


def is_video(source: Source) -> bool:
    """Return whether a source is a stream, or a file with a video's suffix.

    Example:
        >>> is_video(Path("IMG_1.MOV")), is_video(Path("IMG_1.JPG"))
        (True, False)
    """
    return isinstance(source, str) or source.suffix.lower() in VIDEO_SUFFIXES


def describe(video: Source) -> str:
    """Return a video's or stream's name for messages, without the password in an address.

    Example:
        >>> describe("rtsp://user:secret@10.0.0.7/door")
        'stream rtsp://10.0.0.7/door'
    """
    if isinstance(video, Path):
        return f"video {video}"
    return f"stream {re.sub(r'(?<=://)[^/?#]*@', '', video)}"


def stream_name(address: str) -> str:
    """Return the name of a stream's results: the last part of its address, without suffix.

    Example:
        >>> stream_name("rtsp://user:secret@10.0.0.7/door?quality=1"), stream_name("http://10.0.0.7:8080")
        ('door', '10.0.0.7')
    """
    parts = urlsplit(address)
    return Path(unquote(parts.path)).stem or parts.hostname or "stream"


def video_files(stems: Sequence[Path], *, overlay: bool, regions: Sequence[str] = ()) -> dict[Path, Recognise]:
    """Return the files of videos, and what tells whether facekp wrote them.

    `overlay` adds the annotated clips, `regions` the clips of their alpha.
    """
    lines = {stem.with_name(stem.name + LINES): begins_with(MARK) for stem in stems}
    clips = [CLIP] * overlay + [f".{region}{MATTE}" for region in regions]
    return lines | {stem.with_name(stem.name + clip): contains(CLIP_MARK) for stem in stems for clip in clips}


def require_pyav(files: Sequence[Source]) -> None:
    """Raise ConfigError if there is a video among `files` and PyAV is not installed."""
    video = next(filter(is_video, files), None)
    if video and find_spec("av") is None:
        remedy = "pip install 'facekp[video]', or name the photos alone, as '*.jpg'"
        raise ConfigError(f"{describe(video)}: needs PyAV: {remedy}")


def output_names(files: Sequence[Path]) -> list[str]:
    """Return a unique name for each file's results: its stem, or more of its path if that is taken.

    Example:
        >>> output_names([Path("a/1.jpg"), Path("a/1.png"), Path("a/2.jpg")])
        ['1.jpg', '1.png', '2']
        >>> output_names([Path("annotations.jpg")])  # COCO's file is annotations.json
        ['annotations.jpg']
        >>> output_names([Path("../a/1.jpg"), Path("../b/1.jpg")])
        ['a_1.jpg', 'b_1.jpg']
    """
    stems = Counter(path.stem for path in files)
    reserved = {Path(form.file).stem for form in all_formats().values() if isinstance(form, RunFormat)}
    names = [path.name if stems[path.stem] > 1 or path.stem in reserved else path.stem for path in files]
    repeated = {name for name, times in Counter(names).items() if times > 1}
    if not repeated:
        return names
    # A recursive glob found one name in several folders.
    root = os.path.commonpath([path.parent for path in files])
    taken: set[str] = set()
    for i, path in enumerate(files):
        name = "_".join(path.relative_to(root).parts) if names[i] in repeated else names[i]
        # x_y/1.jpg and x/y_1.jpg become the same name.
        names[i] = next(n for n in chain([name], (f"{name}_{k}" for k in count(2))) if n not in taken)
        taken.add(names[i])
    return names

"""Ownership of a prepared folder: one source, one size, one process at a time."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekp.data.layout import IMAGES, INDEX, LABELS, OFFICIAL_MAPPING
from facekp.errors import DataError
from facekp.files import ANOTHER, exclusive_lock, replacing, writing

SOURCE = "source.json"
"""Records what a prepared folder was made from."""


@contextmanager
def lock_output(out: Path, raw: Path, size: int) -> Iterator[None]:
    """Lock `out` and record that it holds `raw` at `size` pixels.

    Raises:
        DataError: it cannot be written, or holds images of another source, another size or another program.
    """
    # Not identified by its images: the same folder continues after a damaged one is replaced or removed.
    digest = hashlib.sha256((raw / OFFICIAL_MAPPING).read_bytes())
    source = {"raw": str(raw.resolve()), "size": size, "mapping": digest.hexdigest()}
    _require_same(out, source)  # before a lock file is written
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(out):
        _require_same(out, source)
        with replacing(out / SOURCE) as part:
            part.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
        yield


def find_pairs(out: Path) -> set[int]:
    """Return the ids whose image and label both exist."""
    images, labels = ({path.stem for path in (out / name).glob("[0-9]*")} for name in (IMAGES, LABELS))
    return {int(stem) for stem in images & labels if stem.isdecimal()}


def _require_same(out: Path, source: dict[str, object]) -> None:
    """Raise DataError if `out` holds images that were not made from `source`."""
    path = out / SOURCE
    if not (out / INDEX).exists() and not find_pairs(out):
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = f"'{found['raw']}' at {found['size']} pixels"
    except FileNotFoundError:
        raise DataError(f"folder '{out}': holds images that prepare did not write; {ANOTHER}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read; remove folder '{out}', or {ANOTHER}") from error
    if found != source:
        now = f"'{source['raw']}' at {source['size']} pixels"
        how = f"not from {now}" if before != now else "whose mapping has changed since"
        raise DataError(f"folder '{out}': was prepared from {before}, {how}; remove it, or {ANOTHER}")

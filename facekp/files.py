"""Crash-safe files and folders: atomic writes, locks and disk checks."""

import errno
import json
import mmap
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from facekp.errors import ConfigError, DataError

try:  # five times as fast as the standard library
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]  # a module elsewhere

LOCK = ".lock"  # lock file of a folder that one process at a time may write to
ANOTHER = "give another folder (out=; data.cache= or hydra.run.dir= when training)"  # remedy where one is refused
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # errors of a disk, or of a share of it, that is full
OVERWRITE = "replace files that facekp did not write"  # help of the setting `overwrite`
Recognise = Callable[[Path], bool]  # whether facekp wrote a file, told by its content


def begins_with(mark: bytes) -> Recognise:
    """Return a function that tells whether a file begins with `mark`, a regular expression for its first bytes."""

    def recognise(path: Path) -> bool:
        with path.open("rb") as file:
            return re.match(mark, file.read(4096), re.DOTALL) is not None

    return recognise


def contains(mark: bytes) -> Recognise:
    """Return a function that tells whether a file contains `mark`."""

    def recognise(path: Path) -> bool:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(mark) >= 0

    return recognise


def keep_foreign(
    files: Mapping[Path, Recognise],
    *,
    overwrite: bool = False,
    remedy: str = "give another out=, or replace with overwrite=true",
) -> None:
    """Raise DataError if facekp did not write one of the `files` that exist, each told by its function.

    Commands call this before they write anything. `overwrite` allows all.
    """

    def is_foreign(path: Path, recognise: Recognise) -> bool:
        try:
            empty = path.is_file() and path.stat().st_size == 0  # left by a killed command, or nothing is lost with it
            return os.path.lexists(path) and not empty and not recognise(path)
        except (OSError, ValueError, KeyError, TypeError):  # a folder, a broken link, no permission, other JSON, ...
            return True

    foreign = [] if overwrite else [path for path, recognise in files.items() if is_foreign(path, recognise)]
    if foreign:
        names = ", ".join(f"'{path}'" for path in foreign[:3]) + f" and {len(foreign) - 3} more" * (len(foreign) > 3)
        raise DataError(
            f"{names}: would be replaced, but this command did not write "
            f"{'it, or it was' if len(foreign) == 1 else 'them, or they were'} changed since; {remedy}"
        )


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; its file replaces `path` on success and is removed on an error.

    If it is `shared`, several processes may write it at once, because no lock is held; the last one's file remains.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    # The same name each time, so that the next run overwrites what a killed run left behind.
    part = path.with_name(f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part")
    try:
        with writing(path):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):  # missing, parent not a folder, name too long, ...
            part.unlink()


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file, as UTF-8 if it is text; several processes may at once. See `replacing`."""
    with replacing(path, shared=True) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())


def to_json(content: Any, *, indent: bool = False) -> bytes:
    """Return plain `content` as JSON in UTF-8, without spaces or with an indent of two."""
    if orjson is not None:
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 if indent else None)
    separators = None if indent else (",", ":")
    return json.dumps(content, indent=2 if indent else None, separators=separators, ensure_ascii=False).encode()


def from_json(data: bytes) -> Any:
    """Return the content of JSON in UTF-8."""
    return json.loads(data) if orjson is None else orjson.loads(data)


def as_cell(text: str) -> str:
    """Return text for a CSV file; what a spreadsheet would take for a formula is quoted by an apostrophe.

    Example:
        >>> as_cell("=1+1.jpg"), as_cell("-1.5"), as_cell("a.jpg")
        ("'=1+1.jpg", '-1.5', 'a.jpg')
    """
    formula = text.startswith(("=", "+", "-", "@", "\t", "\r")) and not re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text)
    return f"'{text}" if formula else text


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert an OSError while writing `path` to a DataError that names it."""
    try:
        yield
    except OSError as error:
        remedy = f"make room, or {ANOTHER}" if error.errno in NO_ROOM else ANOTHER
        raise DataError(f"'{path}': cannot be written ({error.strerror or error}); {remedy}") from error


def make_folder(folder: Path) -> Path:
    """Create a folder if it is missing, and check that it can be written to.

    Raises:
        DataError: it cannot be created or written to.
    """
    probe = folder / f".facekp-{os.getpid()}"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    return folder


@contextmanager
def claim(folder: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of `folder`, as often as this process likes; a killed process releases it.

    Raises:
        DataError: another process holds it; `refusal` is the message.
    """

    def refuse() -> None:
        raise DataError(refusal) from None

    with _hold(FileLock(folder / LOCK, is_singleton=True), refuse):
        yield


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, waiting while another process holds it; a killed process releases its lock."""
    lock = FileLock(folder / LOCK)

    def wait() -> None:
        print(f"waiting for another process that is writing to {folder}", file=sys.stderr)
        lock.acquire()

    with _hold(lock, wait):
        yield


@contextmanager
def _hold(lock: FileLock, if_taken: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; call `if_taken` if another process has it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if_taken()
    except (OSError, NotImplementedError) as error:  # some file systems do not support locks: continue without one
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            with writing(Path(lock.lock_file)):
                raise
    try:
        yield
    finally:
        lock.release()


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield folders below and including `folder`, sorted, with the names of their subfolders and files.

    Links to folders are followed; a folder that is reached again, as in a circle of links, is left out.
    """
    seen = set()
    for path, subfolders, names in os.walk(folder, followlinks=True):
        try:
            state = os.stat(path)
        except OSError:  # it has just been removed
            continue
        if (state.st_dev, state.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        subfolders.sort()
        yield Path(path), subfolders, sorted(names)


def require_space(folder: Path, need: float) -> None:
    """Raise DataError unless the disk of `folder` has `need` bytes free."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DataError(
            f"folder '{folder}': needs about {need / 1e9:.2g} GB, but only {free / 1e9:.2g} GB are free; "
            f"make room, or {ANOTHER}"
        )


def expand(path: str) -> Path:
    """Return `path` with `~` and environment variables resolved; one that exists is returned as it is.

    Raises:
        ConfigError: it begins with `~/`, and this user has no home.
    """
    if os.path.lexists(path):
        return Path(path)
    found = Path(os.path.expanduser(os.path.expandvars(path)))
    if found.parts[:1] == ("~",):
        raise ConfigError(f"'{path}': this user has no home folder; set HOME, or give the whole path")
    return found

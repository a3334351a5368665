"""Crash-safe files and folders: atomic writes, locks and disk checks."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from facekp.errors import DataError

LOCK = ".lock"
"""Lock file of a folder that one process at a time may write to."""
ANOTHER = "give another folder (out=; data.cache= or hydra.run.dir= when training)"
"""Remedy for a folder that cannot be written to."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; its file replaces `path` on success and is removed on an error.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    # The same name each time, so that the next run overwrites what a killed run left behind.
    part = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):  # missing, parent not a folder, name too long, ...
            part.unlink()


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file, as UTF-8 if it is text; see `replacing`."""
    with replacing(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert an OSError while writing `path` to a DataError that names it."""
    try:
        yield
    except OSError as error:
        remedy = f"make room, or {ANOTHER}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ANOTHER
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
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, waiting while another process holds it; a killed process releases its lock."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that is writing to {folder}", file=sys.stderr)
        lock.acquire()
    except OSError:  # some network file systems do not support locks: continue without one
        pass
    try:
        yield
    finally:
        lock.release()


def require_space(folder: Path, need: float) -> None:
    """Raise DataError unless the disk of `folder` has `need` bytes free."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DataError(
            f"folder '{folder}': needs about {need / 1e9:.2g} GB, but only {free / 1e9:.2g} GB are free; "
            f"make room, or {ANOTHER}"
        )


def expand(path: str) -> Path:
    """Return `path` with `~` and environment variables resolved."""
    return Path(os.path.expandvars(path)).expanduser()

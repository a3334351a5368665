"""Files and folders that are usable however a writer ends: whole files, locks, checks of the disk."""

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
"""File of a folder that one process at a time writes."""
ANOTHER = "give another folder (out=; data.cache= or hydra.run.dir= when training)"
"""Remedy for a folder that cannot be written to."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there becomes `path` at the end, and goes on an error.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    # The same name each time: what a killed run left is overwritten by the next, which makes the same file.
    part = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):  # missing, in what is no folder, of too long a name, ...
            part.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a DataError that names it."""
    try:
        yield
    except OSError as error:
        remedy = f"make room, or {ANOTHER}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ANOTHER
        raise DataError(f"'{path}': cannot be written ({error.strerror or error}); {remedy}") from error


def make_folder(folder: Path) -> Path:
    """Create a folder, where it is missing, and try that it can be written to.

    Raises:
        DataError: it cannot.
    """
    probe = folder / f".facekp-{os.getpid()}"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    return folder


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same `folder`; a killed process releases its lock too."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that writes {folder}", file=sys.stderr)
        lock.acquire()
    except OSError:  # some network file systems have no locks; then go on without
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
            f"folder '{folder}': needs about {need / 1e9:.2g} GB, and {free / 1e9:.2g} GB are free; "
            f"make room, or {ANOTHER}"
        )


def expand(path: str) -> Path:
    """Return `path` with `~` and environment variables resolved."""
    return Path(os.path.expandvars(path)).expanduser()

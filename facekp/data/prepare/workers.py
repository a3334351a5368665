"""A function over many things in several processes that import no torch, start quickly and leave nothing behind."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

import cv2

from facekp.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

WORTH_A_PROCESS = 50
"""A process takes about half a second to start: below so many things for each there are fewer of them."""
MOST = 61
"""What Windows can wait for."""
_CHUNK = 4
"""Things sent to a process at a time."""


def run_in_processes(function: Callable[[T], R], things: Sequence[T], workers: int | None = None) -> Iterator[R]:
    """Yield `function` of each thing, in their order; a single worker is this process itself.

    Args:
        function: one that can be pickled, of a module that is quick to import.
        things: what it takes.
        workers: processes; None takes one a core, or fewer where there is little to do.

    Raises:
        DataError: a process was killed. What `function` raises is raised as it is, and ends the others.
    """
    # Processes, not threads: about a third of what Pillow and numpy do holds the interpreter's lock, so threads would
    # stop gaining at three cores (docs/guides/data.md).
    if workers is None:
        workers = max(1, min(os.cpu_count() or 1, len(things) // WORTH_A_PROCESS))
    if workers == 1:
        with _opencv_alone():
            yield from map(function, things)
        return
    # spawn, not fork: a fork copies whatever torch's threads are doing. All processes start with the first job.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, MOST), context, _start)
    try:
        with _main_hidden():
            results = pool.map(function, things, chunksize=_CHUNK)
        yield from results
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} processes was killed (is memory short?): start again with fewer (workers=), "
            "what is done is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Set up a process: Ctrl-C is its parent's to handle, and it ends when its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)  # one core each
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a plain exit would end this thread alone


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep new processes from importing the main module: train.py's has torch, and a script's may have no guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _opencv_alone() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)

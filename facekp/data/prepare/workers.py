"""Worker processes that start fast, never import `__main__` and end with their parent."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2
from tqdm import tqdm

from facekp.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


def run_in_processes(
    function: Callable[[T], R], items: Sequence[T], workers: int | None = None, *, chunk: int = 4,
    setting: str = "workers",
) -> Iterator[R]:  # fmt: skip
    """Yield `function(item)` for each item, in order; a single worker runs in this process.

    Processes, not threads: a third of Pillow's and NumPy's time holds the interpreter lock, so threads would gain
    nothing beyond three cores.

    `function` must be picklable; processes receive `chunk` items at a time. `workers` of None means one per core, or
    fewer for few items; `setting` is the user's name for `workers`, for messages.

    Raises:
        DataError: a process was killed. Errors of `function` are raised as they are and end the other processes.
    """
    import loky  # not needed to train on a prepared data set

    if workers is None:  # starting one takes about half a second, as long as 50 items
        workers = max(1, min(loky.cpu_count(), len(items) // 50))
    if workers == 1:
        yield from map(function, items)
        return
    # Its processes never import __main__, which may be train.py or a script without a guard.
    pool = loky.ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(os.getpid(),))
    try:
        yield from pool.map(function, items, chunksize=chunk)
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} processes was killed (out of memory?): start again with fewer ({setting}=); "
            "finished files are kept"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _start_worker(parent: int) -> None:
    """Set up a process: its parent handles Ctrl-C, and it ends with its parent."""

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)  # sys.exit would end only this thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)  # one core each
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed process leaves behind with a warning
    threading.Thread(target=end_with_parent, daemon=True).start()

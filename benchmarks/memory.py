"""How much memory a call takes at its peak, beyond what was there before it."""

import ctypes
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.timing import Call, synchronize

MIB = 1 << 20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see proc_pid_clear_refs(5)


def peak_memory(prepare: Callable[[], Call], device: torch.device) -> float:
    """Return the extra peak memory of one call, MiB.

    On a CPU all happens in a fresh process: what an earlier call left in the allocator would be used again, unseen.

    Args:
        prepare: makes what is measured, and what need not be counted; on a CPU it must be picklable, such as a
            function of a module or a `functools.partial` of one.
        device: where the memory is.

    Raises:
        concurrent.futures.process.BrokenProcessPool: the system ended the process, most likely for want of memory.
    """
    if device.type == "cuda":
        return _measure_cuda(prepare(), device)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_process, prepare).result()


def _measure_cuda(call: Call, device: torch.device) -> float:
    torch.cuda.empty_cache()
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / MIB


def _measure_process(prepare: Callable[[], Call]) -> float:
    call = prepare()
    _return_free_memory()
    try:
        CLEAR.write_text(RESET_PEAK)
    except OSError:
        # No Linux, or not allowed: the peak since the start, which is too little where `prepare` took more.
        before = _peak_since_start()
        call()
        return _peak_since_start() - before
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _return_free_memory() -> None:
    """Give freed memory back to the system, so that the call cannot take it unseen."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # glibc's own; others give it back at once, or keep it
        ctypes.CDLL(None).malloc_trim(0)


def _status(key: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024  # given in kB


def _peak_since_start() -> float:
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)

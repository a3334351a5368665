"""How much memory a call takes at its peak, beyond what was there before it."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from benchmarks.timing import Call, synchronize
from facekp.hardware import MIB, read_status, reset_peak_memory, return_freed_memory
from facekp.hardware import peak_memory as current_peak

CPU = torch.device("cpu")


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
    return_freed_memory()
    reset = reset_peak_memory()
    # Without a reset the peak since the start counts, which is too little where `prepare` took more.
    before = read_status("VmRSS") if reset else current_peak(CPU)
    call()
    return current_peak(CPU) - before

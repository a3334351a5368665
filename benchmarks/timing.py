"""How long a call takes."""

import time
from collections.abc import Callable

import torch

Call = Callable[[], object]


def timed(call: Call, device: torch.device) -> float:
    """Return the seconds of one call, up to the end of what it queued on a GPU."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for a GPU; on a CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

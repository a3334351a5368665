"""Triton kernels where they run, torch's own operations elsewhere."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

_failures: list[Exception] = []  # why Triton is not tried again


def try_triton(launch: Callable[[], Result], device: torch.device) -> Result | None:
    """Return `launch()`, which imports and runs kernels, or None where they cannot run.

    That is off CUDA, where torch.compile traces the caller, and from the first failure on: that of an import, of a
    compiler, of a launch. A failure is a warning.

    Raises:
        OutOfMemoryError: as torch does, whatever runs.
    """
    if device.type != "cuda" or torch.compiler.is_compiling() or _failures:
        return None
    try:
        with torch.cuda.device(device):
            return launch()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever Triton, its compilers or the driver raise: there is another way
        _failures.append(error)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"the loss runs without Triton, slower ({reason}); Triton needs a C compiler", RuntimeWarning, 2)
    return None

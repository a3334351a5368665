"""The machine: its processor, precision, memory and versions."""

import ctypes
import gc
import os
import platform
import re
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from facekp import __version__
from facekp.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python-headless", "numpy")

MIB = 1 << 20
STATUS = Path("/proc/self/status")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # see mallopt(3)


def describe_machine() -> str:
    """Return the processor, its cores and the GPUs in one line."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    about = dict(re.findall(r"^(model name|flags)\s*: (.*)$", text, re.MULTILINE))
    vectors = next((v.upper() for v in ("avx512f", "avx2") if v in about.get("flags", "").split()), platform.machine())
    name = about.get("model name") or platform.processor() or "processor"
    return f"{name} ({vectors}), {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}"


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    return {"facekp": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def resolve_device(device: str) -> torch.device:
    """Return the device of a name; "auto" selects CUDA if there is a GPU.

    Raises:
        ConfigError: a name that torch does not know, or a device that this machine does not have.
    """
    try:
        found = torch.device(resolve_accelerator(device))
        torch.zeros(1, device=found).item()  # the meta device has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device is '{device}', which this machine does not have ({reason}): take auto") from error
    return found


def cpu_precision() -> Literal["bfloat16", "float32"]:
    """Return "bfloat16" where the processor multiplies in it, else "float32"."""
    has = torch.cpu.get_capabilities()
    return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16") else "float32"


def resolve_accelerator(accelerator: str) -> str:
    """Return `accelerator` with "auto" resolved: CUDA if there is a GPU, else the CPU.

    Apple's GPUs, which Lightning would take, have no float64, in which losses and scores are summed.
    """
    return accelerator if accelerator != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return `precision` with "auto" resolved: 16-mixed on CUDA, else bf16-mixed where the CPU computes in it."""
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "16-mixed"
    return "bf16-mixed" if cpu_precision() == "bfloat16" else "32-true"


def keep_freed_memory() -> None:
    """Let the allocator of this process keep what is freed, for the next tensors; commands call it when they start.

    Otherwise glibc gives every large tensor's memory back to the system, and fetching it anew, page by page, took 19 %
    of a training step (docs/results/performance.md). Other systems' allocators are left as they are.
    """
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
        # Not M_MMAP_THRESHOLD, which ends at 32 MiB: a batch of 16 images of 448 pixels takes more.
        libc.mallopt(M_MMAP_MAX, 0)


def return_freed_memory() -> None:
    """Give freed memory back to the system, so that what is held from here on is what is in use."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # glibc's own; others give it back at once, or keep it
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> bool:
    """Let `peak_memory` start anew on every device; return False where the system does not allow it on the CPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc_pid_clear_refs(5)
    except OSError:  # no Linux, or not allowed
        return False
    return True


def peak_memory(device: torch.device) -> float:
    """Return the most memory that this process has held at a time, MiB: on a GPU what torch allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    if STATUS.is_file():
        return read_status("VmHWM")
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def read_status(key: str) -> float:
    """Return a figure of /proc/self/status, MiB; "VmRSS" is what the process holds now."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024  # given in kB

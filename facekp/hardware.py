"""Hardware and environment: devices, precision, memory and package versions."""

import ctypes
import gc
import os
import platform
import re
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facekp import __version__
from facekp.errors import ConfigError

if TYPE_CHECKING:
    import torch  # takes seconds; the functions that need it import it, since an ONNX file is run without

Precision = Literal["float32", "bfloat16", "float16"]
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python-headless", "numpy")

MIB, GIB = 1 << 20, 1 << 30
STATUS = Path("/proc/self/status")


if hasattr(os, "register_at_fork"):  # not on Windows
    # A forked process lacks its parent's threads; torch would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: "torch" in sys.modules and sys.modules["torch"].set_num_threads(1))


def describe_machine() -> str:
    """Return the processor, its cores and the GPUs in one line."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    about = _cpu_info()
    vectors = next((v.upper() for v in ("avx512f", "avx2") if v in about.get("flags", "").split()), platform.machine())
    name = about.get("model name") or platform.processor() or "processor"
    return f"{name} ({vectors}), {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}"


def _cpu_info() -> dict[str, str]:
    """Return the processor's `model name` and `flags`, as far as the system lists them."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    return dict(re.findall(r"^(model name|flags)\s*: (.*)$", text, re.MULTILINE))


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"facekp": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def resolve_device(device: str) -> "torch.device":
    """Return a torch device by name; "auto" selects CUDA if there is a GPU.

    Raises:
        ConfigError: torch does not know the name, or this machine does not have the device.
    """
    import torch

    try:
        found = torch.device(resolve_accelerator(device))
        torch.zeros(1, device=found).item()  # the meta device has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device is '{device}', which this machine does not have ({reason}): use auto") from error
    return found


def cpu_threads() -> int:
    """Return the number of threads for a network on the CPU: that of torch, or if it is not loaded, of the cores."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    if (given := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]).isdecimal() and int(given):  # as torch would
        return int(given)
    import loky

    return loky.cpu_count(only_physical_cores=True)


def cpu_precision() -> Literal["bfloat16", "float32"]:
    """Return "bfloat16" if the processor supports it in hardware, else "float32"."""
    import torch

    known = hasattr(torch.cpu, "get_capabilities")  # since torch 2.10
    has = torch.cpu.get_capabilities() if known else dict.fromkeys(_cpu_info().get("flags", "").split(), True)
    return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16") else "float32"


def resolve_accelerator(accelerator: str) -> str:
    """Return `accelerator` with "auto" resolved: CUDA if there is a GPU, else the CPU.

    Lightning would also select Apple's GPUs, but these lack float64, which losses and scores need.
    """
    if accelerator != "auto":
        return accelerator
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return `precision` with "auto" resolved: 16-mixed on CUDA, else bf16-mixed if the CPU supports it."""
    if precision != "auto":
        return precision
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "16-mixed"
    return "bf16-mixed" if cpu_precision() == "bfloat16" else "32-true"


def import_large(name: str) -> None:
    """Import a module that takes seconds, and all that it needs, unless it is imported already.

    The garbage collector would search its many objects while they are made, in each later collection, and at exit; they
    live until then.
    """
    if name not in sys.modules:
        gc.disable()
        try:
            import_module(name)
            gc.freeze()
        finally:
            gc.enable()


def keep_freed_memory() -> None:
    """Make this process's allocator keep freed memory for later tensors; commands call it when they start.

    By default, glibc returns every large tensor's memory to the system; getting it back, page by page, took 19 % of a
    training step (docs/results/performance.md). Other allocators are left alone.
    """
    with suppress(AttributeError, OSError, TypeError):
        libc, m_trim_threshold, m_mmap_max = ctypes.CDLL(None), -1, -4  # see mallopt(3)
        libc.mallopt(m_trim_threshold, -1)  # never
        # Not M_MMAP_THRESHOLD, which is capped at 32 MiB: a batch of 16 images of 448 pixels takes more.
        libc.mallopt(m_mmap_max, 0)


def return_freed_memory() -> None:
    """Return freed memory to the system, so that from here on the process holds only memory in use."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # glibc only; other allocators return memory at once, or keep it
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> bool:
    """Reset `peak_memory` on every device; return False if the system does not allow it for the CPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc_pid_clear_refs(5)
    except OSError:  # not Linux, or not allowed
        return False
    return True


def peak_memory(device: "torch.device") -> float:
    """Return the peak memory of this process, MiB; on a GPU, the peak that torch allocated there."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / MIB
    if STATUS.is_file():
        return read_status("VmHWM")
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def read_status(key: str) -> float:
    """Return a value from /proc/self/status, MiB; "VmRSS" is what the process holds now."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024  # given in kB

"""What a result was measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from facekp import __version__

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "albumentations", "opencv-python-headless", "numpy")


def describe_machine() -> str:
    """Return the processor, its cores and the GPUs in one line."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{_processor()}, {os.cpu_count()} cores, {', '.join(gpus) or 'no GPU'}"


def list_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    return {"facekp": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    vectors = [line.split() for line in lines if line.startswith("flags")]
    best = next((v.upper() for v in ("avx512f", "avx2") if vectors and v in vectors[0]), platform.machine())
    return f"{names[0] if names else platform.processor() or 'processor'} ({best})"

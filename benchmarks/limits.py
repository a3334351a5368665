"""What this machine can do at most, measured: matrix products, 3 x 3 convolutions, copies."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import timed

RUNS = 5


@dataclass(frozen=True)
class Rates:
    """What was measured.

    Attributes:
        matmul: GFLOP/s of a square matrix product, for each precision.
        convolution: GFLOP/s of a 3 x 3 convolution, for each precision.
        copy: GB/s of a copy, read and written.
    """

    matmul: dict[str, float]
    convolution: dict[str, float]
    copy: float


def measure_rates(device: torch.device, *, quick: bool = False) -> Rates:
    """Measure all rates: in float32, in bfloat16 where the processor computes in it, and on a GPU in float16."""
    dtypes = [torch.float32]
    if _has_bfloat16(device):
        dtypes.append(torch.bfloat16)
    if device.type == "cuda":
        dtypes.append(torch.float16)
    return Rates(
        matmul={_name(dtype): matmul_rate(dtype, device, quick=quick) for dtype in dtypes},
        convolution={_name(dtype): convolution_rate(dtype, device, quick=quick) for dtype in dtypes},
        copy=copy_rate(device, quick=quick),
    )


def matmul_rate(dtype: torch.dtype, device: torch.device, *, quick: bool = False) -> float:
    """Return the GFLOP/s of a product of square matrices: 2048 x 2048, on a GPU 8192 x 8192."""
    n = 256 if quick else 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / _best_seconds(lambda: a @ b, device) / 1e9


def convolution_rate(dtype: torch.dtype, device: torch.device, *, quick: bool = False) -> float:
    """Return the GFLOP/s of a 3 x 3 convolution of 128 to 128 channels at 56 x 56, batch 16, channels last."""
    n, channels, side = (1, 128, 14) if quick else (16, 128, 56)
    images = torch.randn(n, channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    flops = 2 * 9 * channels**2 * n * side**2
    return flops / _best_seconds(lambda: F.conv2d(images, kernel, padding=1), device) / 1e9


def copy_rate(device: torch.device, *, quick: bool = False) -> float:
    """Return the GB/s of a copy of 256 MiB, what is read and what is written added up."""
    source = torch.ones((1 if quick else 64) << 20, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source), device) / 1e9


def _best_seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Return the seconds of the fastest of a few runs: a limit is what can be reached, not what is usual."""
    with torch.inference_mode():
        call()
        return min(timed(call, device) for _ in range(RUNS))


def _has_bfloat16(device: torch.device) -> bool:
    # Lightning, which this imports, would cost every child process that measures memory some seconds.
    from facekp.hardware import resolve_precision

    return resolve_precision("auto", "gpu" if device.type == "cuda" else "cpu") != "32-true"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def least_seconds(flops: float, rate: float) -> float:
    """Return how long `flops` take at `rate` GFLOP/s, or bytes at as many GB/s."""
    return flops / (rate * 1e9)

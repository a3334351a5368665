# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Share of every class in the pixels of a score, in Triton: labels are read once, and no one-hot labels are written."""

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # pixel columns of a program, one for each thread


def count_shares(labels: Tensor, classes: int, h: int, w: int, ignore_index: int) -> Tensor:
    """Return what average pooling of one-hot labels does: (N, C, h, w) float32; 0 for ignored pixels.

    `labels` are (N, H, W) int64; H is a multiple of `h`, and W / `w` a power of 2, at most 128.
    """
    n, rows, step = labels.shape[0], labels.shape[1] // h, labels.shape[2] // w
    shares = torch.empty(n, classes, h, w, dtype=torch.float32, device=labels.device)
    _count[-(-labels.shape[2] // COLUMNS), h, n](
        labels, shares, classes, h, w, rows, 1 / (rows * step), *labels.stride(), ignore_index,
        CLASSES=triton.next_power_of_2(classes), CELLS=COLUMNS // step, STEP=step, num_warps=COLUMNS // 32,
    )  # fmt: skip
    return shares


@triton.jit
def _count(
    labels, shares, classes, h, w, rows, one, label_n, label_h, label_w, ignore_index,
    CLASSES: tl.constexpr, CELLS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Count the classes of `CELLS` scores of one row."""
    n, i = tl.program_id(2).to(tl.int64), tl.program_id(1).to(tl.int64)
    x = tl.program_id(0) * CELLS * STEP + tl.arange(0, CELLS * STEP)
    own = tl.arange(0, CLASSES)
    found = tl.zeros((CLASSES, CELLS * STEP), tl.int32)
    row = labels + n * label_n + i * rows * label_h + x.to(tl.int64) * label_w
    for _ in range(rows):
        label = tl.load(row, mask=x < w * STEP, other=ignore_index)
        counted = (label[None, :] == own[:, None]) & (label != ignore_index)[None, :]
        found += counted.to(tl.int32)
        row += label_h
    share = tl.sum(tl.reshape(found, (CLASSES, CELLS, STEP)), 2).to(tl.float32) * one
    cell = tl.program_id(0) * CELLS + tl.arange(0, CELLS)
    to = shares + ((n * classes + own)[:, None] * h + i) * w + cell[None, :]
    tl.store(to, share, mask=(own < classes)[:, None] & (cell < w)[None, :])

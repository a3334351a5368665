"""OHEM cross entropy on a GPU that never writes upsampled scores, (N, C, H, W), to its memory.

Tables, made once for every size: rows and columns are cut into runs of at most 8 pixels that lie between the same two
scores. A kernel upsamples the pixels of runs in registers, once for the losses and once for the gradient.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from facekp.losses import ohem_kernels as kernels
from facekp.losses.ohem_batched import interpolation_matrix

COLUMNS = 128  # columns of a tile, one for each thread
BLOCK = 4096  # pixels of a program that only reads losses


def triton_ohem(
    scores: Tensor, labels: Tensor, *, threshold: float, min_kept: float, ignore_index: int, grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the loss of `facekp.losses.OhemCrossEntropy` and its gradient with respect to `scores`.

    Nothing waits for the device, and sums have a fixed order. Pixels that tie share, as in `batched_ohem`.

    Shape:
        scores: (N, C, h, w) float32, float16 or bfloat16, of any strides.
        labels: (N, H, W) int64; one that is no class makes the loss NaN.
        Returns: float32, a scalar, and (N, C, h, w) in the strides of `scores` or, without `grad`, None.

    Raises:
        ValueError: too many pixels for 32 bits, in which kernels count them, and find scores of one image.
    """
    (n, classes, h, w), (height, width) = scores.shape, labels.shape[1:]
    rows, columns = _side(h, height, scores.device), _side(w, width, scores.device)
    corners_shape = (n, classes, rows.runs.shape[1], 2, 2, columns.runs.shape[1])
    if max(labels.numel(), math.prod(corners_shape), scores.untyped_storage().nbytes()) >= 2**31:
        raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)}: too large for 32 bits")
    tables = rows.runs, rows.weights, columns.runs, columns.weights, rows.runs.shape[1], columns.runs.shape[1]
    sizes = height, width, classes, *scores.stride(), *labels.stride()
    tile = {"ROWS": rows.step, "CELLS": COLUMNS // columns.step, "STEP": columns.step, "num_warps": COLUMNS // 32}
    tiles = (-(-columns.runs.shape[1] // (COLUMNS // columns.step)), rows.runs.shape[1], n)
    cut = -math.log(threshold)

    losses, logs = torch.empty(2, *labels.shape, dtype=torch.float32, device=scores.device)
    zeros = torch.zeros(5, 256, dtype=torch.int32, device=scores.device)
    counts, histograms = zeros[0], zeros[1:]
    kernels.upsample_and_lose[tiles](scores, labels, losses, logs, counts, *tables, *sizes, ignore_index, cut, **tile)

    blocks = -(-labels.numel() // BLOCK)
    selection = {"MIN_KEPT": min_kept, "BLOCK": BLOCK, "num_warps": 8}
    for digit in range(4):  # of 8 bits
        kernels.count_digits[blocks,](losses, counts, histograms, labels.numel(), DIGIT=digit, **selection)
    plan = torch.empty(3, dtype=torch.float32, device=scores.device)
    totals = torch.empty(blocks, dtype=torch.float64, device=scores.device)
    kernels.weigh[blocks,](losses, counts, histograms, plan, totals, labels.numel(), cut, **selection)
    loss = totals.sum().float()
    if not grad:
        return loss, None

    corners = torch.zeros(corners_shape, dtype=torch.float32, device=scores.device)
    kernels.corner_gradients[tiles](scores, labels, losses, logs, plan, corners, *tables, *sizes, **tile)
    gradient = torch.empty_like(scores, dtype=torch.float32)
    kernels.add_corners[n * classes, -(-h * w // 256)](
        corners, gradient, rows.spans, columns.spans, *corners_shape[2::3], rows.most, columns.most, classes, h, w,
        *gradient.stride(), BLOCK=256, num_warps=4,
    )  # fmt: skip
    return loss, gradient


class _Side(NamedTuple):
    """Rows or columns of the labels, cut into K runs that lie between the same two of `size_in` scores."""

    runs: Tensor  # (4, K) int32: first pixel, number of pixels, first and second score
    weights: Tensor  # (size_out,) float32: weight of every pixel's second score
    spans: Tensor  # (2, 2, size_in) int32: first run, and first run after, for which a score is the first, the second
    step: int  # most pixels of a run, a power of 2
    most: int  # most runs of a score


@lru_cache(maxsize=64)
def _side(size_in: int, size_out: int, device: torch.device) -> _Side:
    matrix = interpolation_matrix(size_in, size_out, torch.empty(0))
    first = matrix.ne(0).int().argmax(1)
    second = (first + 1).clamp(max=size_in - 1)
    weights = matrix.gather(1, second[:, None])[:, 0].where(second > first, 0)
    step = 2
    while step < min(8, size_out / size_in):
        step *= 2
    runs: list[list[int]] = []
    for pixel, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        if runs and runs[-1][1] < step and runs[-1][2] == a:
            runs[-1][1] += 1
        else:
            runs.append([pixel, 1, a, b])
    table = torch.tensor(runs, dtype=torch.int32).T.contiguous()
    scores = torch.arange(size_in, dtype=torch.int32)
    spans = torch.stack([
        torch.stack([torch.searchsorted(table[2 + k], scores, right=after) for after in (False, True)])
        for k in range(2)
    ]).int()  # fmt: skip
    most = int((spans[:, 1] - spans[:, 0]).max())
    return _Side(table.to(device), weights.to(device), spans.to(device), step, most)

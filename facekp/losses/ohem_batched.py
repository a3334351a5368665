"""OHEM cross entropy of a whole batch at once, for GPUs without Triton: few large kernels, no wait for the device."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def batched_ohem(
    scores: Tensor, labels: Tensor, *, threshold: float, min_kept: float, ignore_index: int, processes: int, grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the loss of `facekp.losses.OhemCrossEntropy` and its gradient with respect to `scores`.

    Which pixels are hard is decided on the device. Pixels that tie with the smallest of the `n_min` largest losses
    share what is left of the `n_min`, instead of the first of them being chosen. The pixels of all `processes` are one
    batch.

    Shape:
        scores: (N, C, h, w) float32 or float64.
        labels: (N, H, W) int64.
        Returns: a scalar, and (N, C, h, w) or, without `grad`, None.
    """
    valid = labels != ignore_index
    targets = labels.where(valid, 0)[:, None]
    sides = zip(scores.shape[2:], labels.shape[1:], strict=True)
    to_rows, to_columns = (interpolation_matrix(*side, scores) for side in sides)
    log_p = (to_rows @ (scores @ to_columns.T)).log_softmax(1)  # (N, C, H, W)
    losses = log_p.gather(1, targets)[:, 0].neg().where(valid, -1.0)

    cut = -math.log(threshold)
    n_hard, n_valid = _total(torch.stack([(losses > cut).sum(), valid.sum()]), processes).unbind()
    n_min = (n_valid.double() * min_kept).long().clamp(min=1)
    most = max(1, int(labels.numel() * processes * min_kept))  # n_min if every pixel is valid
    largest = gather(losses.flatten().topk(min(most, losses.numel())).values, processes).topk(most).values
    enough = n_hard >= n_min
    smallest = largest.gather(0, (n_min - 1)[None])[0]
    cut_now = torch.where(enough, torch.full_like(smallest, cut), smallest)

    above, ties = losses > cut_now, (losses == cut_now) & valid & ~enough
    n_above, n_ties = _total(torch.stack([above.sum(), ties.sum()]), processes).unbind()
    kept = torch.where(enough, n_hard, n_min).double()
    weights = above + ties * ((kept - n_above) / n_ties.clamp(min=1)).to(losses.dtype)
    loss = _total((losses * weights).sum(dtype=torch.float64), processes) / kept
    if not grad:
        return loss.to(scores.dtype), None
    # Cross entropy's gradient is softmax - 1 at the true class: expm1(-loss), and softmax at the others.
    slope = log_p.exp_().scatter_(1, targets, torch.expm1(-losses)[:, None])
    slope *= (weights * (processes / kept))[:, None].to(slope.dtype)
    return loss.to(scores.dtype), to_rows.T @ slope @ to_columns


def interpolation_matrix(size_in: int, size_out: int, like: Tensor) -> Tensor:
    """Return the (size_out, size_in) matrix of 1-D linear interpolation, taken from torch's own kernel."""
    eye = torch.eye(size_in, device=like.device, dtype=like.dtype)
    return F.interpolate(eye[None], size=size_out, mode="linear", align_corners=False)[0].T.contiguous()


def _total(values: Tensor, processes: int) -> Tensor:
    if processes > 1:
        dist.all_reduce(values)
    return values


def gather(values: Tensor, processes: int) -> Tensor:
    """Return the `values` (n,) of all processes in one tensor; n is the same on every process."""
    if processes == 1:
        return values
    everyone = [torch.empty_like(values) for _ in range(processes)]
    dist.all_gather(everyone, values)
    return torch.cat(everyone)

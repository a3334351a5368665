"""Online hard example mining cross entropy, at full resolution, without a full-resolution graph."""

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from facekp.classes import IGNORE_INDEX
from facekp.losses.fused import try_triton
from facekp.losses.ohem_batched import batched_ohem, gather, interpolation_matrix
from facekp.losses.registry import register_loss

PIECE_ELEMENTS = 1 << 20  # upsampled scores at a time: 4 MB, which stay in a processor's cache between passes


@register_loss("ohem")
class OhemCrossEntropy(nn.Module):
    """Cross entropy averaged over the hard pixels of a batch.

    With `t = -ln(threshold)` and `n_min = max(1, floor(min_kept * valid pixels))`: the mean of all losses above `t`, or
    of the `n_min` largest if fewer are above it.

    The scores are upsampled bilinearly (`align_corners=False`) to the labels: on a CPU a few rows of one image at a
    time, in one pass that yields value and gradient; on a GPU by Triton kernels (`facekp.losses.ohem_triton`); without
    Triton, in float64, and with several processes all at once (`facekp.losses.ohem_batched`).

    In training mode, a batch spans all processes of `torch.distributed`, which must all call the loss with labels of
    the same shape. Each returns the loss of the whole batch, whose gradient is the mean of their gradients, as
    DistributedDataParallel computes it. In evaluation mode, each process scores its own images.

    Shape:
        scores: (N, C, h, w) float, any resolution; half precision is computed in float32.
        labels: (N, H, W) int64, ids in 0..C-1 or `ignore_index`.
        Returns: scalar, float32 (float64 for float64 scores); 0 if no pixel is valid.

    Args:
        threshold: probability of the true class below which a pixel is hard, in (0, 1).
        min_kept: minimum share of the valid pixels to average, in (0, 1].
        ignore_index: label of pixels to ignore.

    Attributes:
        batched: whether to compute a whole batch at once on a CPU too, as elsewhere.

    Raises:
        ValueError: an argument out of its range, or shapes that do not fit.

    Reference: Shrivastava et al. 2016, arXiv:1604.03540, section 4; the pixel-wise form is that of BiSeNet,
        arXiv:1808.00897, section 4.1.

    Example:
        >>> scores = torch.zeros(1, 2, 1, 1)  # both classes are equally likely everywhere
        >>> round(OhemCrossEntropy()(scores, torch.ones(1, 4, 4, dtype=torch.long)).item(), 4)
        0.6931
    """

    def __init__(self, threshold: float = 0.7, min_kept: float = 1 / 16, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise ValueError(f"loss.threshold is {threshold}: give a probability between 0 and 1, such as 0.7")
        if not 0 < min_kept <= 1:
            raise ValueError(f"loss.min_kept is {min_kept}: give a share of the pixels in (0, 1], such as 0.0625")
        self.threshold = threshold
        self.min_kept = min_kept
        self.ignore_index = ignore_index
        self.batched = False

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of `scores` against `labels`; see the class for shapes."""
        if scores.ndim != 4 or labels.ndim != 3 or scores.shape[0] != labels.shape[0]:
            shapes = f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)}"
            raise ValueError(f"{shapes}: need (N, C, h, w) and (N, H, W)")
        loss: Tensor = _OhemFunction.apply(scores, labels, self)
        return loss


class _OhemFunction(torch.autograd.Function):
    """The gradient of every hard pixel is known up to the factor 1/kept, so it is computed during the forward pass."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, labels: Tensor, rule: OhemCrossEntropy) -> Tensor:
        want_grad = ctx.needs_input_grad[0]
        with torch.autocast(scores.device.type, enabled=False):
            loss, grad = _ohem(scores.detach(), labels, rule, want_grad)
        if want_grad:
            ctx.save_for_backward(grad)
            ctx.dtype = scores.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return (grad * grad_outputs[0]).to(ctx.dtype), None, None


def _ohem(scores: Tensor, labels: Tensor, rule: OhemCrossEntropy, want_grad: bool) -> tuple[Tensor, Tensor | None]:
    """Return the loss and, if wanted, its gradient with respect to `scores`."""
    processes = dist.get_world_size() if rule.training and dist.is_available() and dist.is_initialized() else 1
    settings: dict[str, Any] = {key: getattr(rule, key) for key in ("threshold", "min_kept", "ignore_index")}
    if scores.dtype != torch.float64 and processes == 1:
        kernels = "facekp.losses.ohem_triton"  # imports Triton, so not everywhere
        fused: tuple[Tensor, Tensor | None] | None = try_triton(
            lambda: import_module(kernels).triton_ohem(scores, labels, grad=want_grad, **settings), scores.device
        )
        if fused is not None:
            return fused
    work = scores.to(torch.float64 if scores.dtype == torch.float64 else torch.float32)
    if rule.batched or work.device.type != "cpu":
        return batched_ohem(work, labels, processes=processes, grad=want_grad, **settings)
    valid = labels != rule.ignore_index
    # An ignored pixel needs some class to look up; its loss is then set below every other.
    targets = torch.where(valid, labels, 0)
    cut = -math.log(rule.threshold)
    losses, total, hard, grad = _sweep(work, targets, valid, cut, want_grad)
    counts = torch.stack([total, hard, valid.sum().to(total)])
    if processes > 1:
        dist.all_reduce(counts)
    total, *numbers = counts.unbind()
    n_hard, n_valid = (int(number) for number in numbers)
    if n_valid == 0:
        return losses.new_zeros(()), grad
    kept = max(1, int(n_valid * rule.min_kept))
    if n_hard >= kept:
        kept = n_hard
    else:
        largest = losses.flatten().topk(min(kept, losses.numel()))
        total, share = largest.values.sum(), kept
        if processes > 1:  # the largest of all, and how many of them are this process's
            everyone = gather(largest.values, processes).topk(kept)
            total = everyone.values.sum(dtype=torch.float64)
            share = int((everyone.indices // len(largest.values) == dist.get_rank()).sum())
        if want_grad:
            chosen = torch.zeros_like(valid).flatten().index_fill_(0, largest.indices[:share], True).view_as(valid)
            grad = _sweep(work, targets, chosen, -math.inf, want_grad)[3]
    return (total / kept).to(work.dtype), None if grad is None else grad * (processes / kept)


def _sweep(
    scores: Tensor, targets: Tensor, counted: Tensor, cut: float, want_grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Process all upsampled scores (N, C, h, w) once, a few rows of one image at a time.

    The chosen pixels are those `counted` (N, H, W) bool whose loss against `targets` (N, H, W) int64 exceeds `cut`.

    Returns:
        The losses (N, H, W), -1 where not counted; sum and number of the chosen, float64; the sum's gradient or None.
    """
    n, classes, h, w = scores.shape
    height, width = targets.shape[1:]
    to_columns = interpolation_matrix(w, width, scores)  # (W, w)
    pieces = list(_pieces(interpolation_matrix(h, height, scores), classes * width))
    losses = scores.new_empty(targets.shape)
    grad = torch.zeros_like(scores, memory_format=torch.contiguous_format) if want_grad else None
    sums = [torch.zeros(2, dtype=torch.float64, device=scores.device)]
    for i in range(n):
        wide = scores[i] @ to_columns.T  # (C, h, W)
        wide_grad = torch.zeros_like(wide)
        for rows, sources, to_rows in pieces:
            weights = to_rows.expand(classes, -1, -1)  # `@` would return a memory layout that is slow to traverse
            up = torch.bmm(weights, wide[:, sources])  # (C, rows, W)
            target = targets[i, rows][None]
            up -= up.amax(0)
            true_score = up.gather(0, target)[0]
            total = up.exp_().sum(0)
            loss = (total.log() - true_score).where(counted[i, rows], -1.0)
            losses[i, rows] = loss
            chosen = (loss > cut) & counted[i, rows]
            sums.append(torch.stack([(loss * chosen).sum(dtype=torch.float64), chosen.sum()]))
            if grad is None:
                continue
            up *= chosen / total  # softmax where chosen, else 0
            up.scatter_add_(0, target, -chosen[None].to(up.dtype))
            wide_grad[:, sources] += torch.bmm(weights.mT, up)
        if grad is not None:
            grad[i] = wide_grad @ to_columns
    total_loss, n_chosen = torch.stack(sums).sum(0)
    return losses, total_loss, n_chosen, grad


def _pieces(to_rows: Tensor, row_elements: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Split the (H, h) matrix into pieces: rows of the labels, the rows of scores that they use, and the weights."""
    height = to_rows.shape[0]
    rows = max(1, PIECE_ELEMENTS // row_elements)
    sources = to_rows.cpu().ne(0)
    for start in range(0, height, rows):
        piece = slice(start, min(start + rows, height))
        used = sources[piece].any(0).nonzero()
        near = slice(int(used[0]), int(used[-1]) + 1)
        yield piece, near, to_rows[piece, near].contiguous()

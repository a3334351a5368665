"""Sums and ranks over the processes of a distributed run; without one they are this process's own."""

import math

import torch
import torch.distributed as dist
from torch import Tensor

DIGIT = 8  # bits of a float that a round decides


def count_processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def add_up(values: Tensor) -> Tensor:
    """Return the sum of `values`, any shape, over all processes; the same on each."""
    total = values.clone()
    dist.all_reduce(total)
    return total


def share_of_largest(ranked: Tensor, count: int) -> int:
    """Return how many of this process's values are among the `count` largest of all processes.

    Finds the `count`-th largest value digit by digit, from the counts that lie above 255 marks a round: five small
    exchanges, whatever the number of values. Equal values are taken from the first processes first.

    Args:
        ranked: (n,) float, in descending order; at least its `count` largest, or all. Negative values do not count.
        count: how many are wanted, at most as many as there are in all.
    """
    # The bits of non-negative float32 numbers, read as integers, have the numbers' order. Not a number, which is what
    # a run that diverged loses, ranks first.
    rising = ranked.float().nan_to_num(math.inf).flip(0).contiguous().view(torch.int32).long()
    marks = torch.arange(1, 1 << DIGIT, device=rising.device)
    bits = 0
    for shift in range(32 - DIGIT, -1, -DIGIT):
        enough = add_up(_count_from(rising, bits + (marks << shift))) >= count
        bits += int(enough.sum()) << shift
    at, above = _count_from(rising, torch.tensor([bits, bits + 1], device=rising.device))
    mine = torch.stack([above, at - above])
    everyone = [torch.empty_like(mine) for _ in range(count_processes())]
    dist.all_gather(everyone, mine)
    all_above, ties = torch.stack(everyone).unbind(1)
    before = ties[: dist.get_rank()].sum()
    taken = (count - all_above.sum() - before).clamp(min=torch.zeros_like(before), max=mine[1])
    return int(above + taken)


def _count_from(rising: Tensor, marks: Tensor) -> Tensor:
    """Return how many of `rising`, in ascending order, are at least each of `marks`."""
    return len(rising) - torch.searchsorted(rising, marks)

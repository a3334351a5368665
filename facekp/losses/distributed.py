"""What the processes of a distributed run tell each other."""

import torch
import torch.distributed as dist
from torch import Tensor


def count_processes() -> int:
    """Return the number of processes that train together; 1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def add_up(values: Tensor) -> Tensor:
    """Return the sum of `values`, any shape, over all processes; the same on each."""
    total = values.clone()
    dist.all_reduce(total)
    return total


def add_up_largest(values: Tensor, count: int) -> tuple[Tensor, int]:
    """Add up the `count` largest values of all processes.

    Args:
        values: (n,) float, this process's, of which it has at least its own `count` largest, or all; `n` is the same
            on all processes.
        count: how many are wanted, at most as many as there are in all.

    Returns:
        total: scalar float64, their sum; the same on each process.
        share: how many of them are this process's.
    """
    everyone = [torch.empty_like(values) for _ in range(count_processes())]
    dist.all_gather(everyone, values)
    largest = torch.cat(everyone).topk(count)
    mine = largest.indices // len(values) == dist.get_rank()
    return largest.values.sum(dtype=torch.float64), int(mine.sum())

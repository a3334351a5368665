"""Samplers: the training stream, a pure function of seed and position, and the order of evaluation."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

Draw = tuple[int, int]  # index into the data set, and the seed of the sample's augmentation
BLANK = -1  # index of a padding draw: any image, with a label that is ignored everywhere


class TrainingStream(Sampler[Draw]):
    """The training draws, identical for any number of workers and processes and after a resume.

    Pass p over the data is a permutation drawn from (seed, p); the augmentation of position k is seeded from (seed, k).
    With repeat factors, the length of a pass is their rounded sum, and each image's factor is rounded up or down at
    random such that its mean over passes is the factor.
    Each process takes its share of every global batch, so the union over processes is the single-process stream.

    `len()` is the length of the whole stream even if iteration starts later: Lightning counts the batches that a
    resumed run has already seen.

    Args:
        repeats: (size,) float, mean number of draws of each image per pass; None draws each once.
        length: draws in the whole stream, over all processes; a multiple of `global_batch`, as is `start`.
        global_batch: draws per step, over all processes; a multiple of `world_size`.
        start: position of the first draw.

    Example:
        >>> whole = list(TrainingStream(5, seed=1, length=12, global_batch=4))
        >>> whole[4:] == list(TrainingStream(5, seed=1, length=12, global_batch=4, start=4))
        True
    """

    def __init__(
        self,
        size: int,
        *,
        repeats: npt.NDArray[np.float64] | None = None,
        seed: int,
        length: int,
        global_batch: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size, self.repeats = size, repeats
        self.pass_length = size if repeats is None else round(float(repeats.sum()))
        self.seed, self.length, self.start = seed, length, start
        self.global_batch, self.rank, self.world_size = global_batch, rank, world_size

    def __len__(self) -> int:
        """Return this process's share of the whole stream."""
        return self.length // self.world_size

    def __iter__(self) -> Iterator[Draw]:
        """Yield this process's draws, beginning at `start`."""
        share = self.global_batch // self.world_size
        order, order_pass = np.empty(0, dtype=np.int64), -1
        for batch in range(self.start, self.length, self.global_batch):
            for position in range(batch + self.rank * share, batch + (self.rank + 1) * share):
                in_pass, offset = divmod(position, self.pass_length)
                if in_pass != order_pass:
                    order, order_pass = self._order(in_pass), in_pass
                augmentation = np.random.SeedSequence((self.seed, position)).generate_state(1)[0]
                yield int(order[offset]), int(augmentation)

    def _order(self, in_pass: int) -> npt.NDArray[np.int64]:
        """Return the images of a pass in the order of their draws."""
        rng = np.random.default_rng((self.seed, in_pass))
        order = rng.permutation(self.size)
        if self.repeats is None:
            return order
        # Systematic sampling: lay the factors end to end in random order, and place a comb with unit spacing over them
        # at a random offset. The teeth that fall on a factor are its image's copies.
        ends = np.cumsum(self.repeats[order])
        ends *= self.pass_length / ends[-1]
        teeth = np.arange(self.pass_length) + rng.random()
        return rng.permutation(order[np.searchsorted(ends, teeth, side="right").clip(max=self.size - 1)])


def evaluation_draws(size: int, rank: int = 0, world_size: int = 1) -> list[Draw]:
    """Return this process's draws of every image once, in order: every `world_size`-th of `size` images.

    Processes with one image fewer draw a blank: all need the same number of batches, because batch norm synchronises
    its statistics at every batch.

    Example:
        >>> [evaluation_draws(3, rank, 2) for rank in (0, 1)]
        [[(0, 0), (2, 0)], [(1, 0), (-1, 0)]]
    """
    draws = [(index, 0) for index in range(rank, size, world_size)]
    return draws + [(BLANK, 0)] * (-(-size // world_size) - len(draws))

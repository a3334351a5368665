"""Timing ours against a peer, run about, and the row that it gives."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from benchmarks.limits import Rates
from benchmarks.timing import Call, timed

DType = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Bench:
    """What every group is told.

    Attributes:
        device: what is measured.
        rates: what this machine can do at most; the limits are reckoned from them.
        repeats: pairs of timed runs.
        quick: small sizes, to see that everything works; the figures mean nothing.
        compile: measure `torch.compile` too, which takes minutes.
        root: data set of the loader's rows; None draws faces.
        cache: where drawn faces are kept.
        threads: torch's, as the run began; a group may take fewer for a while.
    """

    device: torch.device
    rates: Rates
    repeats: int = 7
    quick: bool = False
    compile: bool = False
    root: Path | None = None
    cache: Path = Path("~/.cache/facekp")
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def batch(self) -> int:
        """Images of a training step."""
        return 2 if self.quick else 16

    @property
    def size(self) -> int:
        """Side of a training crop, pixels."""
        return 192 if self.quick else 448

    @property
    def dtypes(self) -> tuple[DType, ...]:
        """The precisions that are tried, the best of which counts."""
        return ("float32", "bfloat16") if "bfloat16" in self.rates.convolution else ("float32",)


@dataclass(frozen=True)
class Row:
    """One line of the table, and one object of `results.json`'s `rows`.

    Attributes:
        name: `group/case`.
        unit: of `ours`, `peer` and `limit`.
        ours: median of our runs.
        ours_min: the least of them.
        ours_max: the greatest.
        repeats: number of runs, or of pairs.
        peer: median of the peer's runs; None where there is no peer, or where it is not installed.
        peer_name: what the peer is.
        ratio: median of the pairs' ours / peer, so smaller is better.
        spread: least and greatest of those ratios.
        memory: extra peak memory of one call in MiB, keys `ours` and `peer`.
        limit: for each of the machine's limits, the least that ours could take in `unit`.
        note: what else has to be said, such as settings that were chosen.
    """

    name: str
    unit: str
    ours: float
    ours_min: float
    ours_max: float
    repeats: int
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    memory: dict[str, float] | None = None
    limit: dict[str, float] | None = None
    note: str = ""


def make_row(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float] = (),
    *,
    peer_name: str | None = None,
    memory: dict[str, float] | None = None,
    limit: dict[str, float] | None = None,
    note: str = "",
) -> Row:
    """Return the row of runs that were measured in pairs; without a peer, of ours alone.

    Example:
        >>> row = make_row("demo/sum", "s", [1.0, 3.0, 2.0], [4.0, 4.0, 4.0], peer_name="slow")
        >>> row.ours, row.ratio, row.spread
        (2.0, 0.5, (0.25, 0.75))
    """
    ratios = [a / b for a, b in zip(ours, peer, strict=True)] if peer else []
    return Row(
        name=name,
        unit=unit,
        ours=statistics.median(ours),
        ours_min=min(ours),
        ours_max=max(ours),
        repeats=len(ours),
        peer=statistics.median(peer) if peer else None,
        peer_name=peer_name,
        ratio=statistics.median(ratios) if ratios else None,
        spread=(min(ratios), max(ratios)) if ratios else None,
        memory=memory,
        limit=limit,
        note=note,
    )


def alternate(
    ours: Call, peer: Call | None, bench: Bench, *, repeats: int | None = None
) -> tuple[list[float], list[float]]:
    """Warm both up, then time ours, peer, ours, peer and so on, so that both meet the same disturbances.

    Args:
        ours: one run of ours.
        peer: one of the peer's, or None.
        bench: device and number of pairs.
        repeats: another number of pairs.

    Returns:
        Seconds of every run of ours, and of the peer's; the latter empty without one.
    """
    calls = [ours] if peer is None else [ours, peer]
    for call in calls:
        call()
    pairs = [[timed(call, bench.device) for call in calls] for _ in range(repeats or bench.repeats)]
    return [pair[0] for pair in pairs], [pair[-1] for pair in pairs if peer is not None]

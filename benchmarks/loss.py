"""`loss/*`: OHEM cross entropy, forward and backward, against the usual ones."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Bench, Row, alternate, make_row
from benchmarks.limits import least_seconds
from benchmarks.memory import peak_memory
from benchmarks.peers import SortOhem, TopkOhem
from benchmarks.scores import STRIDE, draw_labels, find_margin, hard_share, make_scores
from benchmarks.timing import Call
from facekp.classes import NUM_CLASSES
from facekp.losses.ohem import OhemCrossEntropy

CRITERIA: dict[str, Callable[[], nn.Module]] = {"ours": OhemCrossEntropy, "sort": SortOhem, "topk": TopkOhem}
PEER_NAMES = {"sort": "sort-based OHEM", "topk": "topk-based OHEM"}
SHARES = {"hard100": 1.0, "hard30": 0.3, "hard10": 0.1, "floor": 0.05}
"""Share of hard pixels of each case; at the floor it is below 1/16, so that the largest sixteenth is kept."""
MEMORY_REPEATS = 3
"""Each starts two processes, and the figures hardly differ."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `loss/hard100`, `hard30`, `hard10`, `floor`, then `loss_memory/hard10` and `loss/hard30_topk`."""
    labels = draw_labels(bench.batch, bench.size)
    margins = {case: find_margin(labels, share) for case, share in SHARES.items()}
    for case, margin in margins.items():
        yield _time_row(f"loss/{case}", "sort", margin, bench)
    yield _memory_row("loss_memory/hard10", margins["hard10"], bench)
    yield _time_row("loss/hard30_topk", "topk", margins["hard30"], bench)


def prepare(criterion: str, faces: int, size: int, margin: float, device: torch.device) -> Call:
    """Return a call that takes one loss of `faces` images and its gradient."""
    labels = draw_labels(faces, size)
    scores, labels = make_scores(labels, margin).to(device), labels.to(device)
    function = CRITERIA[criterion]()

    def call(scores: Tensor = scores, labels: Tensor = labels) -> None:
        function(scores.detach().requires_grad_(), labels).backward()

    call(scores[:1, :, :8, :8], labels[:1, :64, :64])  # starts threads and loads kernels, whose memory is nobody's
    return call


def _time_row(name: str, peer: str, margin: float, bench: Bench) -> Row:
    ours, theirs = (prepare(c, bench.batch, bench.size, margin, bench.device) for c in ("ours", peer))
    return make_row(
        name,
        "s",
        *alternate(ours, theirs, bench),
        peer_name=PEER_NAMES[peer],
        limit=_limit(ours, bench),
        note=_describe(margin, bench),
    )


def _memory_row(name: str, margin: float, bench: Bench) -> Row:
    settings = (bench.batch, bench.size, margin, bench.device)
    pairs = [
        [peak_memory(partial(prepare, criterion, *settings), bench.device) for criterion in ("ours", "sort")]
        for _ in range(1 if bench.quick else MEMORY_REPEATS)
    ]
    ours, theirs = zip(*pairs, strict=True)
    return make_row(name, "MiB", ours, theirs, peer_name=PEER_NAMES["sort"], note=_describe(margin, bench))


def _describe(margin: float, bench: Bench) -> str:
    labels = draw_labels(bench.batch, bench.size)
    share = hard_share(make_scores(labels, margin), labels)
    return f"{share:.1%} hard pixels; {bench.batch} x {bench.size} x {bench.size}, scores at stride 8"


def _limit(ours: Call, bench: Bench) -> dict[str, float]:
    """Return the least seconds of our matrix products, and of reading labels and scores and writing a gradient."""
    with FlopCounterMode(display=False) as counter:
        ours()
    pixels = bench.batch * bench.size**2
    moved = 8 * pixels + 2 * 4 * NUM_CLASSES * pixels / STRIDE**2  # labels are int64, scores and gradient float32
    return {
        "matmul": least_seconds(counter.get_total_flops(), bench.rates.matmul["float32"]),
        "copy": least_seconds(moved, bench.rates.copy),
    }

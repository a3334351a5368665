"""`loss/*`: OHEM cross entropy, forward and backward, on drawn faces with a chosen share of hard pixels."""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import Bench, Call, Row, alternate, make_row, peak_memory
from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.data.synthetic.write import draw_face
from facekp.losses import OhemCrossEntropy

STRIDE, CUT = 8, -math.log(0.7)  # stride of the scores, and the loss above which a pixel is hard


class SortOhem(nn.Module):
    """OHEM cross entropy that upsamples everything and sorts every pixel's loss; shapes and value are those of ours.

    Reference: `OhemCELoss` in github.com/CoinCheung/BiSeNet's first loss.py, which many have copied.
    """

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of `scores` (N, C, h, w) against `labels` (N, H, W)."""
        up = F.interpolate(scores, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        losses = F.cross_entropy(up, labels, reduction="none", ignore_index=IGNORE_INDEX).flatten()
        return self.select(losses, max(1, int((labels != IGNORE_INDEX).sum().item() / 16)))

    def select(self, losses: Tensor, n_min: int) -> Tensor:
        """Return the mean of the hard pixels' losses (n,), at least the `n_min` largest."""
        losses = losses.sort(descending=True).values
        return losses[losses > CUT].mean() if losses[n_min] > CUT else losses[:n_min].mean()


class TopkOhem(SortOhem):
    """The same with `topk` in place of the sort, and only where it is needed.

    Reference: `OhemCELoss` in github.com/CoinCheung/BiSeNet's lib/ohem_ce_loss.py, which came later.
    """

    def select(self, losses: Tensor, n_min: int) -> Tensor:
        """Return the mean of the hard pixels' losses (n,), at least the `n_min` largest."""
        hard = losses[losses > CUT]
        return hard.mean() if len(hard) >= n_min else losses.topk(n_min).values.mean()


CRITERIA: dict[str, Callable[[], nn.Module]] = {"ours": OhemCrossEntropy, "sort": SortOhem, "topk": TopkOhem}
SHARES = {"hard100": 1.0, "hard30": 0.3, "hard10": 0.1, "floor": 0.05}
"""Share of hard pixels of each case; at the floor it is below 1/16, so the largest sixteenth is kept."""
MEMORY_REPEATS = 3  # each starts two processes, and the figures hardly differ


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `loss/hard100`, `hard30`, `hard10`, `floor` and `hard30_topk`, and `loss_memory/hard10`."""
    labels = draw_labels(bench.batch, bench.size)
    margins = {case: find_margin(labels, share) for case, share in SHARES.items()}
    for case, peer in [*((case, "sort") for case in SHARES), ("hard30", "topk")]:
        margin = margins[case]
        calls = [prepare(criterion, bench.batch, bench.size, margin, bench.device) for criterion in ("ours", peer)]
        share = hard_share(make_scores(labels, margin), labels)
        note = f"{share:.1%} hard pixels; {bench.batch} x {bench.size} x {bench.size}, scores at stride {STRIDE}"
        about = {"peer_name": f"{peer}-based OHEM", "note": note}
        yield make_row(f"loss/{case}{'_topk' if peer == 'topk' else ''}", "s", alternate(calls, bench), **about)
        if case == "hard10":
            takes = [partial(prepare, c, bench.batch, bench.size, margin, bench.device) for c in ("ours", peer)]
            times = range(1 if bench.quick else MEMORY_REPEATS)
            memory = zip(*([peak_memory(one, bench.device) for one in takes] for _ in times), strict=True)
            yield make_row("loss_memory/hard10", "MiB", memory, **about)


def prepare(criterion: str, faces: int, size: int, margin: float, device: torch.device) -> Call:
    """Return a call that computes one loss of `faces` images and its gradient."""
    labels = draw_labels(faces, size)
    scores, labels = make_scores(labels, margin).to(device), labels.to(device)
    function = CRITERIA[criterion]()

    def call(scores: Tensor = scores, labels: Tensor = labels) -> None:
        function(scores.detach().requires_grad_(), labels).backward()

    call(scores[:1, :, :8, :8], labels[:1, :64, :64])  # starts threads and loads kernels, whose memory does not count
    return call


@cache
def draw_labels(faces: int, size: int) -> Tensor:
    """Return the labels of drawn faces, (faces, size, size) int64."""
    labels = np.zeros((faces, size, size), dtype=np.int64)
    for seed, label in enumerate(labels):
        masks = draw_face(seed, size).masks
        for class_id, name in enumerate(CELEBAMASK_HQ.names):
            label[masks.get(name, False)] = class_id
    return torch.from_numpy(labels)


def make_scores(labels: Tensor, margin: float) -> Tensor:
    """Return scores (N, 19, H/8, W/8) float32 that favour the labels' classes by `margin`, with noise of deviation 1.

    At margin 0 they are noise alone; at 64 only the classes' edges are wrong. The same for the same arguments.
    """
    # Image by image: all at once would take half a gigabyte.
    one_hot = (F.one_hot(label, len(CELEBAMASK_HQ)).movedim(-1, 0).float() for label in labels)
    likely = torch.stack([F.avg_pool2d(one, STRIDE) for one in one_hot])
    return margin * likely + torch.randn(likely.shape, generator=torch.Generator().manual_seed(0))


def hard_share(scores: Tensor, labels: Tensor) -> float:
    """Return the share of hard pixels."""
    hard = 0
    for score, label in zip(scores, labels, strict=True):
        up = F.interpolate(score[None], size=label.shape, mode="bilinear", align_corners=False)
        hard += int((F.cross_entropy(up, label[None], reduction="none") > CUT).sum())
    return hard / labels.numel()


def find_margin(labels: Tensor, share: float, tolerance: float = 0.002) -> float:
    """Return the margin of `make_scores` at which `share` of the pixels are hard, by bisection."""
    low, high = 0.0, 64.0  # the share falls from about 1 to that of the edges
    margin = low
    for _ in range(40):
        found = hard_share(make_scores(labels, margin), labels)
        if abs(found - share) <= tolerance:
            return margin
        low, high = (margin, high) if found > share else (low, margin)
        margin = (low + high) / 2
    raise ValueError(f"share is {share}: no margin comes nearer than {found:.3f}; take larger images or a larger share")

"""Per-class score offsets, fitted to maximise the mean F1 of the prediction."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from facekp.classes import IGNORE_INDEX
from facekp.cli import Progress
from facekp.data.dataset import Pixels, to_batch
from facekp.models import Network, fuse


def fit_offsets(scores: Tensor, labels: Tensor) -> Tensor:
    """Return an offset for each class's score, fitted to maximise mean F1.

    The prediction is the class with the highest score. Without offsets, a class that is seldom likelier than its
    surroundings, such as necklace, may get no pixel at all; the highest F1 requires predicting rare classes more often.
    In three rounds, each class in turn takes the offset from a grid that gives the highest mean F1.

    Shape:
        scores: (P, C) float, of P pixels; labels: (P,) int64, ids in 0..C-1.
        Returns: (C,) float32, -4 to 4: 0 for class 0, whose F1 does not count, and for classes without a pixel.

    Reference: Lipton et al. 2014, arXiv:1402.1892, on the threshold that maximises F1.

    Example:
        >>> scores = torch.tensor([[1.0, 0.0], [2.0, 1.75], [3.0, 0.0], [9.0, 0.0]])  # class 1 is never ahead
        >>> offset = fit_offsets(scores, torch.tensor([1, 1, 0, 0]))[1].item()
        >>> 1 < offset < 3
        True
    """
    classes = scores.shape[1]
    truth = torch.bincount(labels, minlength=classes)
    offsets = torch.zeros(classes)
    for _ in range(3):
        for own in range(1, classes):
            if truth[own]:
                offsets[own] = _best_offset(scores, offsets, labels, truth, own)
    return offsets


def _best_offset(scores: Tensor, offsets: Tensor, labels: Tensor, truth: Tensor, own: int) -> float:
    classes = scores.shape[1]
    rivals = offsets.clone()
    rivals[own] = -torch.inf
    best, rival = (scores + rivals).max(1)
    grid = torch.arange(-4.0, 4.0 + 0.05 / 2, 0.05)
    # A pixel becomes `own` at the first offset of the grid above its deficit.
    first = torch.bucketize(best - scores[:, own], grid, right=True)
    right = rival == labels
    taken = _count_up(first, rival, len(grid), classes)
    predicted = torch.bincount(rival, minlength=classes) - taken
    hit = torch.bincount(rival[right], minlength=classes) - _count_up(first[right], rival[right], len(grid), classes)
    predicted[:, own] = taken.sum(1)
    hit[:, own] = _count_up(first[labels == own], labels[labels == own], len(grid), classes).sum(1)
    f1 = 2 * hit.double() / (predicted + truth).clamp(min=1)
    mean = f1[:, 1:].sum(1)
    # The middle of the ties, because unseen pixels lie on both sides.
    ties = (mean >= mean.max() - 1e-12).nonzero().flatten()
    return float(grid[ties[len(ties) // 2]])


def _count_up(first: Tensor, groups: Tensor, steps: int, width: int) -> Tensor:
    """Return (steps, width) counts: in row i, column g, the pixels of group g with `first` at most i."""
    cells = torch.bincount(first * width + groups, minlength=(steps + 1) * width)
    return cells.view(steps + 1, width).cumsum(0)[:-1]


@torch.inference_mode()
def sample_scores(net: Network, loader: DataLoader[Pixels], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the scores (P, C) float32 and labels (P,) int64 of every fourth pixel of every fourth row."""
    scores, labels = [], []
    for pixels in Progress(loader, unit="batch", desc="fitting offsets"):
        batch = to_batch({"image": pixels["image"].to(device), "label": pixels["label"].to(device)})
        label = batch["label"]
        whole = fuse(net(batch["image"], auxiliary=False).predict, (label.shape[1], label.shape[2]))
        label, whole = label[:, 2::4, 2::4], whole[:, :, 2::4, 2::4]
        valid = label != IGNORE_INDEX
        labels.append(label[valid].cpu())
        scores.append(whole.permute(0, 2, 3, 1)[valid].float().cpu())
    return torch.cat(scores), torch.cat(labels)


def add_offsets(net: Network, offsets: Tensor) -> None:
    """Add constants to the scores of a network, in the bias of its first head's last convolution."""
    part = net.get_submodule(net.head_parts[-1])
    head = part[0] if isinstance(part, nn.ModuleList) else part
    bias = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)][-1].bias
    if bias is None:
        raise TypeError(f"{type(net).__name__}: its first head's last convolution has no bias")
    with torch.no_grad():
        bias.add_(offsets)

"""Several processes train as one does: the mined loss and its gradient, twenty steps, and how they are started."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import REPOSITORY
from test_losses import random_case, reference, value_and_gradient
from torch import Tensor

from facekp.losses import OhemCrossEntropy
from facekp.processes import share_of_largest
from facekp.runlog import read_rows

PROCESSES = 2


def easy(scores: Tensor, labels: Tensor, right: float) -> Tensor:
    """Add `right` to the score of each pixel's own class, at the labels' resolution."""
    true = torch.nn.functional.one_hot(labels.where(labels != 255, 0), 19).movedim(-1, 1)
    return scores + right * true


def batch(kind: str) -> tuple[Tensor, Tensor]:
    """Return scores (4, 19, 24, 16), float64, and labels; the first two images are the first process's."""
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(7)
    scores, labels = random_case(4, 24, 16, 24, 16)
    torch.random.set_rng_state(generator_state)
    if kind == "hard":  # all of the first process's pixels are hard, few of the second's
        scores[2:] = easy(scores[2:], labels[2:], 9.0)
    elif kind == "floor":  # so few are hard that the largest sixteenth counts, and most of it lies in one process
        scores = easy(scores, labels, 14.0)
        scores[0] -= easy(torch.zeros_like(scores[0:1]), labels[0:1], 3.0)[0]
    elif kind == "ties":  # every pixel loses the same
        scores, labels = easy(torch.zeros_like(scores), labels, 6.0), labels.where(labels != 255, 0)
    elif kind == "blank":  # the second process has no valid pixel
        labels[2:] = 255
    return scores, labels


KINDS = ("hard", "floor", "ties", "blank")


def in_processes(work: Callable[[int, Path], object], folder: Path) -> list[dict[str, list[Tensor]]]:
    """Run `work(rank, folder)` in two processes and return what each of them saved."""
    mp.spawn(join, (work, folder), PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


def join(rank: int, work: Callable[[int, Path], object], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/join", rank=rank, world_size=PROCESSES)
    torch.save(work(rank, folder), folder / f"{rank}.pt")
    dist.destroy_process_group()


def mine(rank: int, folder: Path) -> dict[str, object]:
    """Return this process's loss and gradient for every kind of batch, in training and in evaluation."""
    found: dict[str, object] = {}
    for kind in KINDS:
        scores, labels = batch(kind)
        own = slice(2 * rank, 2 * rank + 2)
        found[kind] = value_and_gradient(OhemCrossEntropy(), scores[own], labels[own])
        found[f"{kind} eval"] = value_and_gradient(OhemCrossEntropy().eval(), scores[own], labels[own])
    pixel = torch.tensor([[0.0, 0.0], [0.0, 20.0]][rank], dtype=torch.float64).reshape(1, 2, 1, 1)
    found["pixel"] = value_and_gradient(OhemCrossEntropy(), pixel, torch.ones(1, 1, 1, dtype=torch.long))
    ranked = torch.tensor([[9.0, 7, 7, 7, 2], [8.0, 7, 7, 1, -1]][rank])
    found["shares"] = [share_of_largest(ranked, count) for count in range(1, 10)]
    return found


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    return in_processes(mine, tmp_path_factory.mktemp("mined"))


class TestLoss:
    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_the_whole_batchs_and_so_is_the_mean_gradient(
        self, mined: list[dict[str, object]], kind: str
    ) -> None:
        scores, labels = batch(kind)
        want, gradient = value_and_gradient(reference, scores, labels)
        for process in mined:
            assert process[kind][0].item() == pytest.approx(want.item(), rel=1e-12)
        # What DDP does with the parameters' gradients: it sums over the images and takes the mean over the processes.
        got = torch.cat([process[kind][1] for process in mined]) / PROCESSES
        if kind == "ties":  # which of equal pixels are taken is free; how many is not
            norms = [g.abs().amax(1).ne(0).sum() for g in (got, gradient)]
            assert norms[0] == norms[1] == labels.numel() // 16
            assert got.abs().sum().item() == pytest.approx(gradient.abs().sum().item(), rel=1e-12)
        else:
            torch.testing.assert_close(got, gradient, rtol=1e-9, atol=1e-15)

    def test_by_hand(self, mined: list[dict[str, object]]) -> None:
        # One pixel each. The first loses ln 2, which is hard, the second e^-20: of the two, only the first counts.
        # Each process for itself would have kept its own: half the loss, half the gradient.
        (loss, gradient), (same, none) = (process["pixel"] for process in mined)
        assert loss.item() == same.item() == pytest.approx(math.log(2), rel=1e-12)
        assert (gradient / PROCESSES).flatten().tolist() == pytest.approx([0.5, -0.5], rel=1e-12)
        assert none.flatten().tolist() == [0, 0]

    @pytest.mark.parametrize("kind", KINDS)
    def test_in_evaluation_each_process_scores_its_own_images(self, mined: list[dict[str, object]], kind: str) -> None:
        scores, labels = batch(kind)
        for process, own in zip(mined, (slice(2), slice(2, 4)), strict=True):
            assert process[f"{kind} eval"][0].item() == pytest.approx(reference(scores[own], labels[own]).item())

    def test_shares_of_the_largest(self, mined: list[dict[str, object]]) -> None:
        # In all: 9 8 7 7 7 7 7 2 1. Of the sevens, the first process has three and the second two.
        assert mined[0]["shares"] == [1, 1, 2, 3, 4, 4, 4, 5, 5]
        assert mined[1]["shares"] == [0, 1, 1, 1, 1, 2, 3, 3, 4]

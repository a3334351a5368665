"""Several processes train as one does: the mined loss and its gradient, twenty steps, and how they are started."""

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import REPOSITORY
from test_losses import random_case, reference, value_and_gradient
from torch import Tensor

from facekp.config import CallbacksConfig, Config, DataConfig, OptimConfig, TrainerConfig
from facekp.errors import ConfigError
from facekp.losses import OhemCrossEntropy
from facekp.processes import share_of_largest
from facekp.runlog import Row, RunLog, read_rows
from facekp.training import build_data, build_module, build_trainer

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
    found["diverged"] = value_and_gradient(OhemCrossEntropy(), pixel * -math.nan, torch.ones(1, 1, 1).long())[0]
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

    def test_a_run_that_diverged_shows_it(self, mined: list[dict[str, object]]) -> None:
        assert all(process["diverged"].isnan() for process in mined)

    @pytest.mark.parametrize("kind", KINDS)
    def test_in_evaluation_each_process_scores_its_own_images(self, mined: list[dict[str, object]], kind: str) -> None:
        scores, labels = batch(kind)
        for process, own in zip(mined, (slice(2), slice(2, 4)), strict=True):
            assert process[f"{kind} eval"][0].item() == pytest.approx(reference(scores[own], labels[own]).item())

    def test_shares_of_the_largest(self, mined: list[dict[str, object]]) -> None:
        # In all: 9 8 7 7 7 7 7 2 1. Of the sevens, the first process has three and the second two.
        assert mined[0]["shares"] == [1, 1, 2, 3, 4, 4, 4, 5, 5]
        assert mined[1]["shares"] == [0, 1, 1, 1, 1, 2, 3, 3, 4]


STEPS = 20


def fit(rank: int, processes: int, root: Path, folder: Path) -> None:
    """Train for 20 steps, as process `rank`, in float64 and with fixed batch-norm statistics; keep the rows.

    Everything else is as in train.py. Batch-norm's own statistics are each process's, which nothing here can change.
    """
    torch.set_num_threads(1)
    if processes > 1:  # what torchrun and SLURM say in their ways
        os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    config = Config(
        data=DataConfig(root=str(root), size=64, crop=64, batch_size=4, eval_batch_size=1, workers=0),
        model={"name": "resnet18"},
        optim=OptimConfig(warmup_steps=0, lr=1e-3, head_lr_mult=1),
        trainer=TrainerConfig(accelerator="cpu", devices=processes, max_steps=STEPS, val_every=STEPS, log_every=1),
        callbacks=CallbacksConfig(progress=False),
        output_dir=str(folder),
    )
    config.trainer.strategy = "ddp" if processes > 1 else "auto"
    config.trainer.precision = "64-true"  # no setting: so that rounding stays far below what is tested
    pl.seed_everything(0, verbose=False)
    module, data = build_module(config), build_data(config)
    norms = [m for m in module.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the mean over all batches: here one of noise
        module.net(torch.randn(8, 3, 64, 64))
    for norm in norms:
        norm.eval()
    log = RunLog(folder)
    build_trainer(config, [log]).fit(module, data)
    if rank == 0:
        (folder / "rows.json").write_text(json.dumps([log.rows[step] for step in sorted(log.rows)]))


@pytest.fixture(scope="module")
def runs(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], list[Row]]:
    """Train in one process and in two and return both runs' rows."""
    folders = [tmp_path_factory.mktemp(f"in{processes}") for processes in (1, 2)]
    with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
        free.bind(("127.0.0.1", 0))
        patch.setenv("MASTER_PORT", str(free.getsockname()[1]))
        free.close()
        for processes, folder in zip((1, 2), folders, strict=True):
            mp.spawn(fit, (processes, tiny_root, folder), processes)
    one, two = (json.loads((folder / "rows.json").read_text()) for folder in folders)
    return one, two


class TestTraining:
    def test_twenty_steps_lose_the_same(self, runs: tuple[list[Row], list[Row]]) -> None:
        one, two = runs
        assert len(one) == len(two) == STEPS
        for name in ("train/loss", "train/loss_8", "train/loss_16", "train/loss_32", "lr"):
            assert [row[name] for row in two] == pytest.approx([row[name] for row in one], rel=1e-9), name
        assert one[-1]["train/loss"] < 0.8 * one[0]["train/loss"]  # it does train

    def test_scores_are_the_same(self, runs: tuple[list[Row], list[Row]]) -> None:
        one, two = ({k: v for k, v in rows[-1].items() if k.startswith("val/")} for rows in runs)
        assert one["val/loss"] == pytest.approx(two["val/loss"], rel=1e-6)  # torchmetrics' mean is a float32
        assert one == pytest.approx(two, rel=1e-6, nan_ok=True)


SMALL = ["data.size=64", "data.crop=64", "data.batch_size=4", "data.workers=0", "callbacks.progress=false"]
SHORT = ["trainer.max_steps=2", "trainer.val_every=2", "trainer.log_every=1", "logger=csv"]
PAIR = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


class TestStarting:
    def test_torchrun(self, tiny_root: Path, tmp_path: Path) -> None:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command = [*torchrun, str(REPOSITORY / "train.py"), *PAIR, "trainer.devices=2", *SMALL, *SHORT]
        done = run([*command, f"data.root={tiny_root}", "hydra.run.dir=run"], tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("run folder: ") == 1
        assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.csv")] == [1, 2]
        assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 2

    def test_a_sweep_does_not_start_processes_that_would_each_start_it_again(
        self, tiny_root: Path, tmp_path: Path
    ) -> None:
        command = [sys.executable, str(REPOSITORY / "train.py"), "-m", "seed=0,1", *PAIR, "trainer.devices=2"]
        done = run([*command, *SMALL, *SHORT, f"data.root={tiny_root}"], tmp_path)
        assert done.returncode == 2
        assert "error: trainer.devices makes 2 processes, but a job of a sweep is one: take trainer.devices=1" in (
            done.stderr
        )
        assert not list(tmp_path.rglob("metrics.*"))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_batch_norm_over_processes_needs_a_gpu(self) -> None:
        config = Config(model={"name": "resnet18"}, trainer=TrainerConfig(sync_batchnorm=True), output_dir="x")
        with pytest.raises(ConfigError, match="sync_batchnorm is True: without a GPU leave it false"):
            build_trainer(config, [])

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_fp16_needs_a_gpu(self) -> None:
        # Lightning would take bf16 and only warn; metrics.json would name the wrong precision.
        config = Config(model={"name": "resnet18"}, trainer=TrainerConfig(precision="16-mixed"), output_dir="x")
        with pytest.raises(ConfigError, match="precision is '16-mixed': without a GPU give bf16-mixed or 32-true"):
            build_trainer(config, [])

"""Several processes train as one does: the mined loss and its gradient, a few steps, and how they are started."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.losses import random_case, reference, value_and_gradient
from helpers.networks import Toy
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from runs import REPOSITORY, SMALL, run_train
from torch import nn
from torch.nn.functional import one_hot

from facekp.config import CallbacksConfig, Config, DataConfig, OptimConfig, TrainerConfig
from facekp.data.datamodule import FaceDataModule
from facekp.errors import ConfigError
from facekp.losses import OhemCrossEntropy
from facekp.models import build_model
from facekp.models.registry import NETWORKS
from facekp.training.history import RunLog
from facekp.training.metrics import network_scorer
from facekp.training.rows import read_rows
from facekp.training.run import build_data, build_module, build_trainer
from facekp.weights.checkpoint import read_checkpoint
from facekp.weights.load import load_network

PROCESSES = 2
STEPS = 6
KINDS = ("hard", "floor", "ties", "blank")
RUN = ("trainer=ddp", "trainer.devices=2", "trainer.max_steps=3", "data.eval_batch_size=1", "hydra.run.dir=run")
"""Arguments of a run whose three validation images do not share out evenly."""
Found = dict[Any, Any]
Done = subprocess.CompletedProcess[str]


def batch(kind):
    """Return scores (4, 19, 24, 16), float64, and labels; the first two images are the first process's."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        scores, labels = random_case(4, 24, 16, 24, 16)
    if kind == "blank":  # the second process has no valid pixel
        labels[2:] = 255
    right = one_hot(labels.where(labels != 255, 0), 19).movedim(-1, 1).double()  # of each pixel's own class
    if kind == "hard":  # all of the first process's pixels are hard, few of the second's
        scores[2:] += 9 * right[2:]
    elif kind == "floor":  # so few are hard that the largest sixteenth counts, and most of it lies in one process
        scores += 14 * right
        scores[0] -= 3 * right[0]
    elif kind == "ties":  # every pixel loses the same
        scores, labels = 6 * right, labels.where(labels != 255, 0)
    return scores, labels


def losses_of(rank):
    """Return a process's loss and gradient for every kind of batch, in training and in evaluation."""
    found = {}
    for kind in KINDS:
        scores, labels = batch(kind)
        own = slice(2 * rank, 2 * rank + 2)
        loss = OhemCrossEntropy()
        for loss.batched in (False, True):
            found[kind, loss.batched] = value_and_gradient(loss.train(), scores[own], labels[own])
            found[kind, loss.batched, "eval"] = loss.eval()(scores[own], labels[own])
    pixel = torch.tensor([[0.0, 0.0], [0.0, 20.0]][rank], dtype=torch.float64).reshape(1, 2, 1, 1)
    found["pixel"] = value_and_gradient(OhemCrossEntropy(), pixel, torch.ones(1, 1, 1, dtype=torch.long))
    found["diverged"] = value_and_gradient(OhemCrossEntropy(), pixel * -math.nan, torch.ones(1, 1, 1).long())[0]
    return found


def fit(processes, root, folder):
    """Train for a few steps in float64 and with fixed batch-norm statistics; everything else is as in train.py.

    On CPUs, torch takes the statistics of each process's own images, so no two processes could equal one with them.
    """
    torch.set_num_threads(1)  # of threads each has its own part of a sum
    NETWORKS.register("toy")(Toy)
    config = Config(
        data=DataConfig(root=str(root), size=32, crop=32, batch_size=4, eval_batch_size=1, workers=0),
        model={"name": "toy"},
        optim=OptimConfig(warmup_steps=0, lr=1e-3, head_lr_mult=1, ema=0.9),
        trainer=TrainerConfig(accelerator="cpu", devices=processes, max_steps=STEPS, val_every=STEPS, log_every=1),
        callbacks=CallbacksConfig(progress=False),
        output_dir=str(folder),
    )
    config.trainer.strategy = "ddp" if processes > 1 else "auto"
    config.trainer.precision = "64-true"  # no setting: so that rounding stays far below what is tested
    pl.seed_everything(0, verbose=False)
    module, data = build_module(config), build_data(config)
    norms = [m for m in module.net.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None  # the mean over all batches: here one of noise
        module.net(torch.randn(8, 3, 64, 64))
    # Batches are normalised in float32.
    module.net.register_forward_pre_hook(lambda net, given: (given[0].to(next(net.parameters()).dtype),))
    for norm in norms:
        norm.eval()
    log = RunLog(folder)
    build_trainer(config, [log]).fit(module, data)
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    rows = [log.rows[step] for step in sorted(log.rows)]
    return {"rows": rows, "average": checkpoint["state_dict"], "newest": checkpoint["current_model_state"]}


def work(root, folder):
    """Be one of torchrun's two processes: run train.py, then all else that is tested in two."""
    rank = int(os.environ["RANK"])
    run_train(*RUN, f"data.root={root}")
    torch.save(losses_of(rank) | fit(PROCESSES, root, folder), folder / f"{rank}.pt")


def launch(folder, *arguments):
    """Run Python in a folder, with this checkout's modules."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def torchrun(tiny_root, tmp_path_factory):
    """Return the folder in which two processes have worked, and what they printed."""
    folder = tmp_path_factory.mktemp("pair")
    processes = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}")
    return folder, launch(folder, *processes, __file__, tiny_root, folder)


@pytest.fixture(scope="module")
def pair(torchrun):
    """Return what each of the two processes found."""
    return [torch.load(torchrun[0] / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.slow
class TestTwoProcesses:
    @pytest.mark.parametrize("batched", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_loss_is_the_whole_batchs_and_so_is_the_mean_gradient(self, pair, kind, batched):
        scores, labels = batch(kind)
        want, gradient = value_and_gradient(reference, scores, labels)
        for process in pair:
            assert process[kind, batched][0].item() == pytest.approx(want.item(), rel=1e-12)
        # What DDP does with the parameters' gradients: it sums over the images and takes the mean over the processes.
        got = torch.cat([process[kind, batched][1] for process in pair]) / PROCESSES
        if kind == "ties":  # which of equal pixels are taken is free; how many is not
            if not batched:  # which shares the last places among them
                assert got.abs().amax(1).ne(0).sum() == labels.numel() // 16
            assert got.abs().sum().item() == pytest.approx(gradient.abs().sum().item(), rel=1e-12)
        else:
            torch.testing.assert_close(got, gradient, rtol=1e-9, atol=1e-15)
        for process, own in zip(pair, (slice(2), slice(2, 4)), strict=True):  # in evaluation each scores its own
            assert process[kind, batched, "eval"].item() == pytest.approx(reference(scores[own], labels[own]).item())

    def test_the_loss_by_hand(self, pair):
        # One pixel each. The first loses ln 2, which is hard, the second e^-20: of the two, only the first counts.
        # Each process for itself would have kept its own: half the loss, half the gradient.
        (loss, gradient), (same, none) = (process["pixel"] for process in pair)
        assert loss.item() == same.item() == pytest.approx(math.log(2), rel=1e-12)
        assert (gradient / PROCESSES).flatten().tolist() == pytest.approx([0.5, -0.5], rel=1e-12)
        assert none.flatten().tolist() == [0, 0]
        assert all(process["diverged"].isnan() for process in pair)

    def test_training_equals_that_of_one_process(self, pair, tiny_root, tmp_path):
        single = fit(1, tiny_root, tmp_path)
        want = single["rows"]
        for rows in (process["rows"] for process in pair):
            assert len(rows) == len(want) == STEPS
            for name in ("train/loss", "train/loss_8", "train/loss_16", "train/loss_32", "lr"):
                assert [row[name] for row in rows] == pytest.approx([row[name] for row in want], rel=1e-9), name
        assert want[-1]["train/loss"] < 0.9 * want[0]["train/loss"]  # it does train
        moved = 0.0
        for name, average in single["average"].items():
            for process in pair:
                torch.testing.assert_close(process["average"][name], average, rtol=1e-9, atol=1e-12)
            moved = max(moved, (average - single["newest"][name]).abs().max().item())
        assert moved > 1e-4  # the moving average is not the newest weights
        one, two = ({k: v for k, v in row.items() if k.startswith("val/")} for row in (want[-1], pair[0]["rows"][-1]))
        assert len(one) > 2 * 19
        assert two == pytest.approx(one, rel=1e-6, nan_ok=True)  # scores are float32


def check_run(folder, done, root):
    """Check that one process reports, and that scores are those of the checkpoint in one process."""
    assert done.stdout.count("run folder: ") == 1
    assert "sync_dist" not in done.stderr  # Lightning's advice, a line a score, which does not hold here
    run = folder / "run"
    assert [row["step"] for row in read_rows(run / "metrics.csv")] == [1, 2, 3]
    summary = json.loads((run / "metrics.json").read_text())
    assert summary["steps"] == 3
    for split, name, written in (("val", "last", summary["val"]["last"]), ("test", "best", summary["test"])):
        net, about = load_network(run / "checkpoints" / f"{name}.ckpt")
        config = DataConfig(root=str(root), size=about["size"], workers=0, eval_batch_size=1)
        loader = FaceDataModule(config, seed=0, total_steps=0).evaluation_loader(split)
        scores = network_scorer(net, about, torch.device("cpu"))(loader)
        for key in ("loss", "miou", "mean_f1", "pixel_accuracy"):
            assert written[key] == pytest.approx(scores[key], rel=1e-4), (split, key)
        assert written["classes"] == scores["classes"]


class TestStarting:
    @pytest.mark.slow
    def test_by_torchrun(self, torchrun, tiny_root):
        check_run(*torchrun, tiny_root)

    @pytest.mark.slow
    def test_by_lightning(self, tiny_root, tmp_path):
        done = launch(tmp_path, REPOSITORY / "train.py", *SMALL, *RUN, "logger=csv", f"data.root={tiny_root}")
        check_run(tmp_path, done, tiny_root)

    def test_a_sweep_does_not_start_processes_that_would_each_start_it_again(self, monkeypatch):
        job = OmegaConf.create({"hydra": {"mode": RunMode.MULTIRUN}})  # this process is a job of a multirun
        monkeypatch.setattr(HydraConfig.instance(), "cfg", job)
        trainer = TrainerConfig(accelerator="cpu", devices=2, strategy="ddp", precision="32-true")
        config = Config(model={"name": "resnet18"}, trainer=trainer, output_dir="x")
        with pytest.raises(ConfigError, match=r"makes 2 processes, but a job of a sweep is one: use trainer\.dev"):
            build_trainer(config, [])

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_what_needs_a_gpu_says_so(self):
        for setting, message in (
            ({"sync_batchnorm": True}, "sync_batchnorm is True: without a GPU leave it null"),
            # Lightning would take bf16 and only warn; metrics.json would name the wrong precision.
            ({"precision": "16-mixed"}, "precision is '16-mixed': without a GPU give bf16-mixed or 32-true"),
        ):
            config = Config(model={"name": "resnet18"}, trainer=TrainerConfig(**setting), output_dir="x")
            with pytest.raises(ConfigError, match=message):
                build_trainer(config, [])

    @pytest.mark.parametrize(
        "model", ["resnet18", "bisenet", pytest.param("residual_attention", marks=pytest.mark.slow)]
    )
    def test_every_batch_norm_can_be_taken_over_processes(self, model):
        # What Lightning does on GPUs; a network whose batch-norms are called in ways of their own would go on alone.
        net = build_model(model).eval()
        images, norms = torch.randn(1, 3, 64, 64), sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
        want = net(images)
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        assert sum(isinstance(m, nn.SyncBatchNorm) for m in net.modules()) == norms > 0
        for got, scores in zip(net(images).maps, want.maps, strict=True):
            assert torch.equal(got, scores)


if __name__ == "__main__":
    work(*map(Path, sys.argv[1:]))

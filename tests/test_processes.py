"""`train.py` as a sweep of several jobs, and in two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from conftest import REPOSITORY
from test_wandb import read_run

from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.training.history import read_rows
from facekp.training.scoring import network_scorer
from facekp.weights.checkpoint import read_checkpoint
from facekp.weights.load import load_network

SMALL = ["data.size=64", "data.crop=64", "data.batch_size=4", "data.workers=0", "callbacks.progress=false"]


class Done(NamedTuple):
    """A finished command and the folder that it was given."""

    process: subprocess.CompletedProcess[str]
    folder: Path


def train(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "train.py", *arguments, *SMALL]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )


def score(folder: Path) -> float:
    return json.loads((folder / "metrics.json").read_text())["val"]["best"]["miou"]


@pytest.fixture(scope="module")
def sweep(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Sweep two networks over a good and an impossible seed, with the default logger."""
    cwd = tmp_path_factory.mktemp("sweep")
    steps = ["trainer.max_steps=2", "trainer.val_every=2", f"data.root={tiny_root}"]
    jobs = ["-m", "model=resnet18,residual_attention", "seed=-1,7", "hydra.sweep.dir=runs/mine"]
    return Done(train(*jobs, *steps, cwd=cwd, WANDB_MODE="offline"), cwd / "runs" / "mine")


class TestSweep:
    def test_a_job_that_fails_does_not_end_the_others(self, sweep: Done) -> None:
        assert sweep.process.returncode == 2
        (line,) = [line for line in sweep.process.stderr.splitlines() if line.startswith("error: ")]
        assert "seed is -1" in line
        assert sorted(path.parent.name for path in sweep.folder.glob("*/metrics.json")) == [
            "1-resnet18", "3-residual_attention"]  # fmt: skip

    def test_each_job_trains_its_own_network(self, sweep: Done) -> None:
        for job in ("1-resnet18", "3-residual_attention"):
            summary = json.loads((sweep.folder / job / "metrics.json").read_text())
            assert (summary["model"]["name"], summary["seed"], summary["steps"]) == (job[2:], 7, 2)
            assert (
                read_checkpoint(sweep.folder / job / "checkpoints" / "last.ckpt")["facekp"]["model"]["name"] == job[2:]
            )

    def test_each_job_is_a_run_of_its_own_in_the_sweeps_group(self, sweep: Done) -> None:
        names = []
        for job in ("1-resnet18", "3-residual_attention"):
            (file,) = (sweep.folder / job).glob("wandb/offline-run-*/*.wandb")
            started = next(record.run for record in read_run(file) if record.HasField("run"))
            assert started.run_group == "mine"
            names.append(started.display_name)
        assert "model=resnet18,seed=7" in names[0]
        assert "model=residual_attention,seed=7" in names[1]

    def test_starting_it_again_trains_only_what_is_left_and_takes_no_other_jobs_checkpoint(
        self, sweep: Done, tiny_root: Path
    ) -> None:
        left, done = sweep.folder / "0-resnet18", sweep.folder / "1-resnet18"  # the first had failed
        files = [done / name for name in ("metrics.json", "metrics.csv", "checkpoints/last.ckpt")]
        before = [path.stat().st_mtime_ns for path in files]
        steps = ["trainer.max_steps=2", "trainer.val_every=2", f"data.root={tiny_root}", "logger=csv"]
        jobs = ["-m", "model=resnet18", "seed=3,7", "hydra.sweep.dir=runs/mine", "resume=last"]
        again = train(*jobs, *steps, cwd=sweep.folder.parents[1])
        assert again.returncode == 0, again.stderr
        assert f"finished before, val/miou {score(done):.3f}: {done}" in again.stdout
        assert json.loads((left / "metrics.json").read_text())["seed"] == 3
        assert [path.stat().st_mtime_ns for path in files] == before


@pytest.fixture(scope="module")
def pair(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Train in two processes; the three validation images do not share out evenly."""
    cwd = tmp_path_factory.mktemp("pair")
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    steps = ["trainer.max_steps=5", "trainer.val_every=2", "trainer.log_every=1", "data.eval_batch_size=1"]
    done = train(*two, *steps, f"data.root={tiny_root}", "logger=csv", "hydra.run.dir=run", cwd=cwd)
    return Done(done, cwd / "run")


class TestTwoProcesses:
    def test_one_of_them_reports(self, pair: Done) -> None:
        assert pair.process.returncode == 0, pair.process.stderr
        assert pair.process.stdout.count("run folder: ") == 1
        assert "sync_dist" not in pair.process.stderr  # Lightning's advice, a line a score, which does not hold here
        assert [row["step"] for row in read_rows(pair.folder / "metrics.csv")] == [1, 2, 3, 4, 5]
        assert json.loads((pair.folder / "metrics.json").read_text())["steps"] == 5

    @pytest.mark.parametrize(("split", "name"), [("val", "last"), ("test", "best")])
    def test_scores_are_those_of_the_checkpoint_in_one_process(
        self, pair: Done, tiny_root: Path, split: str, name: str
    ) -> None:
        summary = json.loads((pair.folder / "metrics.json").read_text())
        written = summary["val"]["last"] if split == "val" else summary["test"]
        net, about = load_network(pair.folder / "checkpoints" / f"{name}.ckpt")
        data = FaceDataModule(DataConfig(root=str(tiny_root), size=about["size"], workers=0, eval_batch_size=1),
                              seed=0, total_steps=0)  # fmt: skip
        scores = network_scorer(net, about, torch.device("cpu"))(data.evaluation_loader(split))
        for key in ("loss", "miou", "mean_f1", "pixel_accuracy"):
            assert written[key] == pytest.approx(scores[key], rel=1e-4), key
        assert written["classes"] == scores["classes"]


PROBE = """
import hashlib, json, sys
import pytorch_lightning as pl, torch
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule

root, processes, workers, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

class Probe(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(1)), []

    def training_step(self, batch, batch_idx):
        assert batch["image"].dtype == torch.float32 and batch["label"].dtype == torch.int64
        pairs = zip(batch["image"], batch["label"])
        self.seen.append([hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest() for x, y in pairs])
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def on_train_end(self):
        open(f"{out}.{self.global_rank}", "w").write(json.dumps(self.seen))

config = DataConfig(root=root, size=64, crop=64, batch_size=4, workers=workers)
trainer = pl.Trainer(accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", max_steps=5,
                     limit_val_batches=0, use_distributed_sampler=False, logger=False, enable_checkpointing=False,
                     enable_progress_bar=False, enable_model_summary=False)
trainer.fit(Probe(), datamodule=FaceDataModule(config, seed=3, total_steps=5))
"""
"""Trains on nothing, and writes down a digest of every normalised image and label that each process was given."""


def test_two_processes_are_given_the_tensors_of_one(tiny_root: Path, tmp_path: Path) -> None:
    script = tmp_path / "probe.py"
    script.write_text(PROBE, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for processes, workers in ((1, 0), (2, 1)):
        command = [sys.executable, script, tiny_root, str(processes), str(workers), tmp_path / f"seen{processes}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    alone, *shares = (json.loads((tmp_path / name).read_text()) for name in ("seen1.0", "seen2.0", "seen2.1"))
    assert [len(step) for step in alone] == [4] * 5
    assert len({digest for step in alone for digest in step}) == 20
    assert [first + second for first, second in zip(*shares, strict=True)] == alone

"""`train.py` as a sweep of several jobs, and in two processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from helpers.wandb_files import read_run
from runs import REPOSITORY, SMALL

from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.training.history import read_rows
from facekp.training.scoring import network_scorer
from facekp.weights.checkpoint import read_checkpoint
from facekp.weights.load import load_network


class Done(NamedTuple):
    """A finished command and the folder that it was given."""

    process: subprocess.CompletedProcess[str]
    folder: Path


def score(folder: Path) -> float:
    return json.loads((folder / "metrics.json").read_text())["val"]["best"]["miou"]


@pytest.fixture(scope="module")
def swept(sweep: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Sweep two networks over a good and an impossible seed, with W&B; return the folder and what was said."""
    cwd = tmp_path_factory.mktemp("sweep")
    jobs = ("model=resnet18,residual_attention", "seed=-1,7", "hydra.sweep.dir=runs/mine", "trainer.max_steps=2")
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as said:
        patch.setenv("WANDB_MODE", "offline")
        with pytest.raises(SystemExit) as end:
            sweep(*jobs, cwd=cwd, logger="wandb")
    assert end.value.code == 2
    return cwd / "runs" / "mine", said.getvalue()


@pytest.mark.slow
class TestSweep:
    def test_a_job_that_fails_does_not_end_the_others(self, swept: tuple[Path, str]) -> None:
        folder, said = swept
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "seed is -1" in line
        assert sorted(path.parent.name for path in folder.glob("*/metrics.json")) == [
            "1-resnet18", "3-residual_attention"]  # fmt: skip

    def test_each_job_trains_its_own_network(self, swept: tuple[Path, str]) -> None:
        for job in ("1-resnet18", "3-residual_attention"):
            summary = json.loads((swept[0] / job / "metrics.json").read_text())
            assert (summary["model"]["name"], summary["seed"], summary["steps"]) == (job[2:], 7, 2)
            assert read_checkpoint(swept[0] / job / "checkpoints" / "last.ckpt")["facekp"]["model"]["name"] == job[2:]

    def test_each_job_is_a_run_of_its_own_in_the_sweeps_group(self, swept: tuple[Path, str]) -> None:
        names = []
        for job in ("1-resnet18", "3-residual_attention"):
            (file,) = (swept[0] / job).glob("wandb/offline-run-*/*.wandb")
            started = next(record.run for record in read_run(file) if record.HasField("run"))
            assert started.run_group == "mine"
            names.append(started.display_name)
        assert "model=resnet18,seed=7" in names[0]
        assert "model=residual_attention,seed=7" in names[1]

    def test_starting_it_again_trains_only_what_is_left_and_takes_no_other_jobs_checkpoint(
        self, swept: tuple[Path, str], sweep: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        left, done = swept[0] / "0-resnet18", swept[0] / "1-resnet18"  # the first had failed
        files = [done / name for name in ("metrics.json", "metrics.csv", "checkpoints/last.ckpt")]
        before = [path.stat().st_mtime_ns for path in files]
        jobs = ("model=resnet18", "seed=3,7", "hydra.sweep.dir=runs/mine", "trainer.max_steps=2", "resume=last")
        sweep(*jobs, cwd=swept[0].parents[1])
        assert f"finished before, val/miou {score(done):.3f}: {done}" in capsys.readouterr().out
        assert json.loads((left / "metrics.json").read_text())["seed"] == 3
        assert [path.stat().st_mtime_ns for path in files] == before


@pytest.fixture(scope="module")
def pair(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Train in two processes; the three validation images do not share out evenly."""
    cwd = tmp_path_factory.mktemp("pair")
    two = ["trainer=ddp", "trainer.devices=2", "trainer.max_steps=5", "data.eval_batch_size=1", "hydra.run.dir=run"]
    command = [sys.executable, REPOSITORY / "train.py", *SMALL, "logger=csv", f"data.root={tiny_root}", *two]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    return Done(done, cwd / "run")


@pytest.mark.slow
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

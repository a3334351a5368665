"""Sweeps: what the experiments compose to, continuing after a stop, jobs in other processes."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from hydra import compose, initialize_config_dir
from pytorch_lightning.callbacks import Callback
from runs import REPOSITORY, SMALL

import facekp.training.run
from facekp.config import Config
from facekp.training.compose import read_config, register_schema
from facekp.training.history import read_rows
from facekp.training.resume import Resume
from facekp.training.run import build_trainer


def composed(*overrides: str) -> Config:
    register_schema()
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return read_config(compose("config", [*overrides, "output_dir=run"]))


@pytest.mark.parametrize("model", ["resnet18", "residual_attention"])
def test_table1_is_the_papers(model: str) -> None:
    config = composed("experiment=table1", f"model={model}")
    assert (config.data.size, config.data.crop, config.data.batch_size) == (512, 448, 16)
    assert config.data.scales == [0.75, 1, 1.25, 1.5, 1.75, 2]
    assert config.trainer.max_steps == 4000
    assert (config.optim.lr, config.optim.momentum, config.optim.weight_decay) == (1e-2, 0.9, 5e-4)
    assert config.optim.head_lr_mult == 10  # the one that is not


def written(folder: Path) -> dict[Path, int]:
    """Return when each file was written that a run leaves in its folder."""
    files = [*folder.glob("metrics.*"), *folder.glob("checkpoints/*")]
    return {path: path.stat().st_mtime_ns for path in files}


class CtrlC(Callback):
    """Interrupt before the fourth step."""

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == 3:
            raise KeyboardInterrupt


class Preempted(Callback):
    """Send SIGTERM to every process before the third step, as a scheduler does."""

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            for loader in multiprocessing.active_children():
                loader.terminate()
                loader.join()  # torch raises here that a loader was killed


@pytest.mark.slow
class TestTable1:
    ARGUMENTS = ("experiment=table1", "model=resnet18,residual_attention", "hydra.sweep.dir=table1")

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def folder(cls, sweep: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Interrupt the sweep in its second job."""
        cwd = tmp_path_factory.mktemp("sweep")

        def interrupted(config: Config, *args: Any) -> pl.Trainer:
            trainer = build_trainer(config, *args)
            if config.model["name"] == "residual_attention":
                trainer.callbacks.append(CtrlC())
            return trainer

        with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as said:
            patch.setattr(facekp.training.run, "build_trainer", interrupted)
            with pytest.raises(SystemExit) as end:
                sweep(*cls.ARGUMENTS, cwd=cwd)
        assert end.value.code == 130
        assert "the same command with hydra.sweep.dir=table1 continues this sweep" in said.getvalue()
        return cwd / "table1"

    def test_started_again_it_goes_on_with_the_job_that_was_stopped_and_runs_no_other(
        self, folder: Path, sweep: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done, stopped = folder / "0-resnet18", folder / "1-residual_attention"
        before = written(done)
        assert not (stopped / "metrics.json").exists()
        rows = read_rows(stopped / "metrics.csv")
        assert [row["step"] for row in rows] == [1, 2, 3]
        # What Hydra composed has references, which mean something else where the run is looked at elsewhere.
        text = (stopped / ".hydra" / "config.yaml").read_text()
        assert yaml.safe_load(text)["output_dir"] == str(stopped)
        assert "${" not in text
        built: list[tuple[str, Resume]] = []

        def noted(config: Config, loggers: Any, resume: Resume, *more: Any) -> pl.Trainer:
            built.append((config.output_dir, resume))
            return build_trainer(config, loggers, resume, *more)

        monkeypatch.setattr(facekp.training.run, "build_trainer", noted)
        sweep(*self.ARGUMENTS, cwd=folder.parent)
        assert [(Path(run).name, resume.step) for run, resume in built] == [(stopped.name, 2)]
        assert written(done) == before
        after = read_rows(stopped / "metrics.csv")
        assert [row["step"] for row in after] == [1, 2, 3, 4]
        for name in ("seconds", "train/loss", "train/images_per_second"):  # what a clock measured would differ
            assert [row[name] for row in after[:2]] == [row[name] for row in rows[:2]]
        assert json.loads((stopped / "metrics.json").read_text())["steps"] == 4
        sweep(*self.ARGUMENTS, cwd=folder.parent)  # now all has finished
        assert len(built) == 1

    def test_other_settings_are_refused_in_a_jobs_folder(
        self, folder: Path, sweep: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = written(folder / "0-resnet18")
        with pytest.raises(SystemExit):
            sweep("experiment=table1", "model=resnet18", "optim.lr=0.5", "hydra.sweep.dir=table1", cwd=folder.parent)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        summary = folder / "0-resnet18" / "metrics.json"
        assert line.startswith(f"error: optim.lr is 0.5, but '{summary}' was trained with 0.01: take the same, or")
        assert written(folder / "0-resnet18") == before
        composed = yaml.safe_load((folder / "0-resnet18" / ".hydra" / "config.yaml").read_text())
        assert composed["optim"]["lr"] == 0.01  # Hydra had put the new one there


@pytest.mark.slow
def test_sigterm_to_every_process_ends_the_sweep(
    sweep: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def preempted(*args: Any) -> pl.Trainer:
        trainer = build_trainer(*args)
        trainer.callbacks.append(Preempted())
        return trainer

    monkeypatch.setattr(facekp.training.run, "build_trainer", preempted)
    with pytest.raises(SystemExit) as end:
        sweep("seed=0,1", "data.workers=1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert end.value.code == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "the same command with hydra.sweep.dir=sweep continues this sweep",
        "interrupted",
    ]
    runs = {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()}
    assert runs == {"0-resnet18"}
    assert not (tmp_path / "sweep" / "0-resnet18" / "error.txt").exists()


@pytest.mark.slow
def test_jobs_in_processes_of_their_own(tiny_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    jobs = ["seed=0,1", "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep"]
    command = [sys.executable, REPOSITORY / "train.py", "-m", *SMALL, "logger=csv", f"data.root={tiny_root}", *jobs]
    path = os.environ | {"PYTHONPATH": str(REPOSITORY)}  # not another checkout's, whichever is installed
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        assert json.loads((tmp_path / "sweep" / f"{seed}-resnet18" / "metrics.json").read_text())["seed"] == seed
    logs = [path.read_text() for path in tmp_path.glob("sweep/.submitit/*/*_log.out")]
    assert sorted(line for log in logs for line in log.splitlines() if line.startswith("run folder: ")) == [
        f"run folder: {tmp_path}/sweep/{seed}-resnet18" for seed in (0, 1)
    ]
    assert len(logs) == 2


def test_what_slurm_is_asked_for(sweep: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SLURM itself is not here: its commands are stand-ins, of which sbatch refuses what it is given.
    submitit = pytest.importorskip("submitit")
    for name in ("sbatch", "srun", "sacct"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    asked = ("partition=gpu", "timeout_min=720", "max_num_timeout=3", "gpus_per_node=4", "tasks_per_node=4")
    launcher = ("hydra/launcher=submitit_slurm", *(f"hydra.launcher.{setting}" for setting in asked))
    with pytest.raises(submitit.core.utils.FailedJobError):
        sweep("seed=0,1,2", "trainer=ddp", "trainer.devices=4", *launcher, "hydra.sweep.dir=sweep", cwd=tmp_path)
    (script,) = tmp_path.glob("sweep/.submitit/**/*.sh")
    lines = script.read_text().splitlines()
    for option in ("array=0-2%3", "partition=gpu", "time=720", "nodes=1", "ntasks-per-node=4", "gpus-per-node=4"):
        assert f"#SBATCH --{option}" in lines
    (command,) = [line for line in lines if line.startswith("srun ")]
    assert f"{sys.executable} -u -m submitit.core._submit" in command

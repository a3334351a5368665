"""Sweeps: continuing after a stop, and jobs in other processes."""

import json
import multiprocessing
import os
import signal
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
import yaml
from helpers.networks import Toy
from runs import REPOSITORY, before_step

import facekp.training.run
from facekp.models.registry import NETWORKS
from facekp.training.rows import read_rows
from facekp.training.run import build_trainer
from facekp.weights.checkpoint import read_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]


def written(folder):
    """Return when each file was written that a run leaves in its folder."""
    files = [*folder.glob("metrics.*"), *folder.glob("checkpoints/*")]
    return {path: path.stat().st_mtime_ns for path in files}


class TestInterrupted:
    """Two networks on a seed that cannot be and on a good one; Ctrl-C in the last job."""

    JOBS = ("experiment=paper", "model=resnet18,fpn", "seed=-1,7", "hydra.sweep.dir=sweep")

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def folder(cls, train_py, tmp_path_factory):
        cwd = tmp_path_factory.mktemp("sweep")

        def interrupted(config, *args):
            trainer = build_trainer(config, *args)
            if config.model["name"] == "fpn":
                trainer.callbacks.append(before_step(3, KeyboardInterrupt))
            return trainer

        with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as said:
            patch.setattr(facekp.training.run, "build_trainer", interrupted)
            train_py(*cls.JOBS, cwd=cwd, ends=130)
        assert "the same command with hydra.sweep.dir=sweep continues this sweep" in said.getvalue()
        return cwd / "sweep"

    def test_started_again_it_goes_on_with_the_job_that_was_stopped_and_trains_no_other(
        self, folder, train_py, monkeypatch, capsys
    ):
        done, stopped = folder / "1-resnet18", folder / "3-fpn"
        before = written(done)
        assert not (stopped / "metrics.json").exists()
        rows = read_rows(stopped / "metrics.csv")
        assert [row["step"] for row in rows] == [1, 2, 3]
        # What Hydra composed has references, which mean something else where the run is looked at elsewhere.
        text = (stopped / ".hydra" / "config.yaml").read_text()
        assert yaml.safe_load(text)["output_dir"] == str(stopped)
        assert "${" not in text
        built = []

        def noted(config, loggers, resume, *more):
            built.append((config.output_dir, resume))
            return build_trainer(config, loggers, resume, *more)

        monkeypatch.setattr(facekp.training.run, "build_trainer", noted)
        for _ in range(2):  # the second time, nothing is left
            train_py(*self.JOBS, cwd=folder.parent, ends=2)  # the jobs that cannot be have not ended the others
        assert [(Path(run).name, resume.step) for run, resume in built] == [(stopped.name, 2)]
        assert written(done) == before
        after = read_rows(stopped / "metrics.csv")
        assert [row["step"] for row in after] == [1, 2, 3, 4]
        for name in ("seconds", "train/loss", "train/images_per_second"):  # what a clock measured would differ
            assert [row[name] for row in after[:2]] == [row[name] for row in rows[:2]]
        for job, model in ((done, "resnet18"), (stopped, "fpn")):
            summary = json.loads((job / "metrics.json").read_text())
            assert (summary["model"]["name"], summary["seed"], summary["steps"]) == (model, 7, 4)
            assert read_checkpoint(job / "checkpoints" / "last.ckpt")["facekp"]["model"]["name"] == model
        said = capsys.readouterr()
        score = json.loads((done / "metrics.json").read_text())["val"]["best"]["miou"]
        assert said.out.count(f"already finished, val/miou {score:.3f}: {done}") == 2
        errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
        assert ["seed is -1" in line for line in errors] == [True, True]

    def test_other_settings_are_refused_in_a_jobs_folder(self, folder, train_py, capsys):
        job = folder / "1-resnet18"
        before = written(job)
        train_py("seed=7", "optim.lr=0.5", f"hydra.run.dir={job}", cwd=folder.parent, ends=2)
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        expected = f"error: optim.lr is 0.5, but '{job / 'metrics.json'}' was trained with 0.01: use the same, or"
        assert line.startswith(expected)
        assert written(job) == before
        # Hydra had put the new one there.
        assert yaml.safe_load((job / ".hydra" / "config.yaml").read_text())["optim"]["lr"] == 0.01


def test_sigterm_to_every_process_ends_the_sweep(train_py, tmp_path, monkeypatch, capsys):
    def terminate():  # as a scheduler does
        os.kill(os.getpid(), signal.SIGTERM)
        for loader in multiprocessing.active_children():
            loader.terminate()
            loader.join()  # torch raises here that a loader was killed

    def preempted(*args):
        trainer = build_trainer(*args)
        trainer.callbacks.append(before_step(2, terminate))
        return trainer

    NETWORKS.register("toy")(Toy)
    monkeypatch.setattr(facekp.training.run, "build_trainer", preempted)
    train_py("model.name=toy", "seed=0,1", "data.workers=1", "hydra.sweep.dir=sweep", "-m", cwd=tmp_path, ends=130)
    said = ["the same command with hydra.sweep.dir=sweep continues this sweep", "interrupted"]
    assert capsys.readouterr().err.splitlines()[-2:] == said
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {"0-toy"}
    assert not (tmp_path / "sweep" / "0-toy" / "error.txt").exists()


def test_a_job_in_a_process_of_its_own(train_py, tmp_path, monkeypatch):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # not another checkout's, whichever is installed
    job = ["seed=1", "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep", "trainer.max_steps=2", "-m"]
    train_py(*job, cwd=tmp_path)
    run = tmp_path / "sweep" / "0-resnet18"
    assert json.loads((run / "metrics.json").read_text())["seed"] == 1
    (log,) = tmp_path.glob("sweep/.submitit/*/*_log.out")
    assert [line for line in log.read_text().splitlines() if line.startswith("run ")] == [f"run folder: {run}"]


def test_what_slurm_is_asked_for(train_py, tmp_path, monkeypatch):
    # SLURM itself is not here: its commands are stand-ins, of which sbatch refuses what it is given.
    submitit = pytest.importorskip("submitit")
    for name in ("sbatch", "srun", "sacct"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    asked = ("partition=gpu", "timeout_min=720", "max_num_timeout=3", "gpus_per_node=4", "tasks_per_node=4")
    launcher = ("hydra/launcher=submitit_slurm", *(f"hydra.launcher.{setting}" for setting in asked))
    jobs = ("seed=0,1,2", "trainer=ddp", "trainer.devices=4", "hydra.sweep.dir=sweep", "-m")
    with pytest.raises(submitit.core.utils.FailedJobError):
        train_py(*launcher, *jobs, cwd=tmp_path)
    (script,) = tmp_path.glob("sweep/.submitit/**/*.sh")
    lines = script.read_text().splitlines()
    for option in ("array=0-2%3", "partition=gpu", "time=720", "nodes=1", "ntasks-per-node=4", "gpus-per-node=4"):
        assert f"#SBATCH --{option}" in lines
    (command,) = [line for line in lines if line.startswith("srun ")]
    assert f"{sys.executable} -u -m submitit.core._submit" in command

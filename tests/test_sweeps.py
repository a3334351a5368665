"""Sweeps: what the experiments compose to, going on after a stop, searches with Optuna, jobs in other processes."""

import json
import multiprocessing
import os
import runpy
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from pytorch_lightning.callbacks import Callback

import facekp.training.run
from facekp.compare.runs import read_runs
from facekp.config import Config, read_config, register_schema
from facekp.training.history import read_rows
from facekp.training.optuna_trial import open_study
from facekp.training.resume import Resume
from facekp.training.run import build_trainer
from hydra_plugins.facekp_optuna import _distribution

SMALL = (
    "data.size=64", "data.crop=64", "data.batch_size=4", "data.workers=0", "callbacks.progress=false", "logger=csv",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_steps=4", "trainer.val_every=2",
    "trainer.log_every=1",
)  # fmt: skip


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


@pytest.fixture(scope="module")
def sweep(tiny_root: Path) -> Iterator[Callable[..., None]]:
    """Return a function that runs `train.py -m` in a folder, in this process: starting Python takes seconds."""

    def run(*arguments: str, cwd: Path) -> None:
        quiet = ("hydra/job_logging=none", "hydra/hydra_logging=none")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["train.py", "-m", *SMALL, f"data.root={tiny_root}", *quiet, *arguments])
            runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")

    yield run
    HydraConfig.instance().cfg = None


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

        def noted(config: Config, loggers: Any, resume: Resume) -> pl.Trainer:
            built.append((config.output_dir, resume))
            return build_trainer(config, loggers, resume)

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


class TestSearch:
    """Four trials of a good and a much too high learning rate, by validation loss, pruned from the second on."""

    ARGUMENTS = (
        "hydra/sweeper=optuna", "hydra.sweep.dir=search", "hydra.sweeper.pruner.n_startup_trials=1",
        "hydra.sweeper.pruner.n_warmup_steps=0", "callbacks.monitor=val/loss", "optim.warmup_steps=0",
        "optim.lr=choice(0.01,3.0)", "data.scales=[1]", "optim.head_lr_mult=1",
    )  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, sweep: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
        pytest.importorskip("optuna")
        cwd = tmp_path_factory.mktemp("search")
        sweep(*cls.ARGUMENTS, "hydra.sweeper.n_trials=4", cwd=cwd)
        return cwd / "search"

    def results(self, folder: Path) -> dict[str, Any]:
        return yaml.safe_load((folder / "optimization_results.yaml").read_text())

    def test_a_trial_behind_the_median_is_stopped(self, folder: Path) -> None:
        # The rule by hand: the best loss so far is above the median of the earlier trials' at the same step.
        trials, earlier = self.results(folder)["trials"], []
        assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
        for trial in trials:
            rows = read_rows(folder / f"{trial['number']}-resnet18" / "metrics.csv")
            losses = {int(row["step"]): row["val/loss"] for row in rows if "val/loss" in row}
            behind = bool(earlier) and losses[2] > statistics.median(loss[2] for loss in earlier)
            assert trial["state"] == ("pruned" if behind else "complete")
            assert max(losses) == (2 if behind else 4)
            assert trial["value"] == pytest.approx(losses[2] if behind else min(losses.values()), rel=1e-5)
            job = folder / f"{trial['number']}-resnet18"
            assert (job / "metrics.json").exists() is not behind
            assert read_runs([job])[0].status_text == ("pruned at step 2 of 4" if behind else "finished")
            earlier.append(losses)
        assert {trial["state"] for trial in trials} == {"complete", "pruned"}

    def test_each_trial_trained_with_its_own_settings_and_the_best_is_named(self, folder: Path) -> None:
        results = self.results(folder)
        finished = [trial for trial in results["trials"] if trial["state"] == "complete"]
        for trial in finished:
            optim, data = (
                json.loads((folder / f"{trial['number']}-resnet18" / "metrics.json").read_text())["settings"][group]
                for group in ("optim", "data")
            )
            assert optim["lr"] == float(trial["params"]["optim.lr"])
            assert data["jitter"] == trial["params"]["data.jitter"]
            assert 0 <= data["jitter"] <= 0.8
            assert (optim["head_lr_mult"], data["scales"]) == (1, [1])  # fixed on the command line
        best = min(finished, key=lambda trial: trial["value"])
        assert results["best_trial"] == best["number"]
        assert results["best_params"] == best["params"]

    def test_it_goes_on_with_the_trial_that_was_stopped(self, folder: Path, sweep: Callable[..., None]) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        before = written(folder / "0-resnet18")
        states = [trial["state"] for trial in self.results(folder)["trials"]]
        study = optuna.load_study(
            study_name="search", storage=JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
        )
        study.enqueue_trial({"optim.lr": "0.01", "data.jitter": 0.25})
        left = study.ask({name: study.trials[0].distributions[name] for name in ("optim.lr", "data.jitter")})
        assert left.number == 4  # and is never told
        # That one alone, then two that are drawn and launched together.
        sweep(*self.ARGUMENTS, "hydra.sweeper.n_trials=7", "hydra.sweeper.n_jobs=2", cwd=folder.parent)
        trials = self.results(folder)["trials"]
        assert [trial["number"] for trial in trials] == list(range(7))
        assert [trial["state"] for trial in trials[:4]] == states
        assert trials[4]["params"] == {"optim.lr": "0.01", "data.jitter": 0.25}
        for trial in trials[4:]:
            record = folder / f"{trial['number']}-resnet18" / ".hydra" / "config.yaml"
            assert yaml.safe_load(record.read_text())["data"]["jitter"] == trial["params"]["data.jitter"]
            assert trial["state"] in ("complete", "pruned")
        jitters = [trial["params"]["data.jitter"] for trial in trials]
        assert len(set(jitters)) == 7  # the sampler did not draw its first trials again
        assert written(folder / "0-resnet18") == before

    def test_other_settings_are_refused(
        self, folder: Path, sweep: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            sweep(*self.ARGUMENTS, "seed=1", "hydra.sweeper.n_trials=9", cwd=folder.parent)
        assert "error: seed is 1, but 'search' was trained with 0" in capsys.readouterr().err

    def test_a_users_error_ends_it(
        self, sweep: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            sweep(*self.ARGUMENTS, "data.root=nowhere", cwd=tmp_path)
        assert "data.root is 'nowhere'" in capsys.readouterr().err
        study = (tmp_path / "search" / "optuna.journal").read_text()
        assert '"trial_id":0,' in study
        assert '"trial_id":1,' not in study

    def test_what_is_drawn_from(self) -> None:
        distributions = pytest.importorskip("optuna").distributions
        parse = OverridesParser.create().parse_override
        for text, want in {
            "interval(1,8)": distributions.FloatDistribution(1.0, 8.0),
            "tag(log,interval(0.1,8))": distributions.FloatDistribution(0.1, 8.0, log=True),
            "int(interval(1,8))": distributions.IntDistribution(1, 8),
            "tag(log,int(interval(1,8)))": distributions.IntDistribution(1, 8, log=True),
            "range(1,4)": distributions.CategoricalDistribution(["1", "2", "3"]),
        }.items():
            assert _distribution(parse(f"x={text}")) == want, text

    def test_trials_that_cannot_be_composed_are_not_tried_again(
        self, sweep: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            sweep(*self.ARGUMENTS, "optim.warmup_steps=interval(0.1,0.9)", cwd=tmp_path)
        assert "optim.warmup_steps" in capsys.readouterr().err
        study = open_study(SimpleNamespace(storage=str(tmp_path / "search" / "optuna.journal"), study_name="search"))
        assert [trial.state.name for trial in study.trials] == ["FAIL"]


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


def test_jobs_in_processes_of_their_own(tiny_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    jobs = ["seed=0,1", "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep"]
    command = [sys.executable, REPOSITORY / "train.py", "-m", *SMALL, f"data.root={tiny_root}", *jobs]
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

"""Searches with Optuna, jobs in processes of their own, and what the experiments compose to."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY
from hydra import compose, initialize_config_dir

from facekp.config import Config, read_config, register_schema
from facekp.runlog import read_rows

SMALL = [
    "data.size=64", "data.crop=64", "data.batch_size=4", "data.workers=0", "callbacks.progress=false", "logger=csv",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.val_every=2", "trainer.log_every=1",
]  # fmt: skip


def train(*arguments: str, cwd: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, REPOSITORY / "train.py", "-m", *SMALL, f"data.root={root}", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=300, check=False)


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


class TestSearch:
    """Four trials of a good and a much too high learning rate, by validation loss, pruned from the second on."""

    ARGUMENTS = (
        "hydra/sweeper=optuna", "hydra.sweep.dir=search", "hydra.sweeper.pruner.n_startup_trials=1",
        "hydra.sweeper.pruner.n_warmup_steps=0", "callbacks.monitor=val/loss", "trainer.max_steps=4",
        "optim.warmup_steps=0", "optim.lr=choice(0.01,3.0)", "data.scales=[1]", "optim.head_lr_mult=1",
    )  # fmt: skip

    @pytest.fixture(scope="class")
    def folder(self, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        pytest.importorskip("optuna")
        cwd = tmp_path_factory.mktemp("search")
        done = train(*self.ARGUMENTS, "hydra.sweeper.n_trials=4", cwd=cwd, root=tiny_root)
        assert done.returncode == 0, done.stderr
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
            assert (folder / f"{trial['number']}-resnet18" / "metrics.json").exists() is not behind
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

    def test_it_goes_on_with_the_trial_that_was_stopped(self, folder: Path, tiny_root: Path) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        before = {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.*")}
        states = [trial["state"] for trial in self.results(folder)["trials"]]
        study = optuna.load_study(
            study_name="search", storage=JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
        )
        study.enqueue_trial({"optim.lr": "0.01", "data.jitter": 0.25})
        left = study.ask({name: study.trials[0].distributions[name] for name in ("optim.lr", "data.jitter")})
        assert left.number == 4  # and is never told
        arguments = [*self.ARGUMENTS, "hydra.sweeper.n_trials=6"]
        done = train(*arguments, cwd=folder.parent, root=tiny_root)
        assert done.returncode == 0, done.stderr
        trials = self.results(folder)["trials"]
        assert len(trials) == 6
        assert [trial["state"] for trial in trials[:4]] == states
        assert trials[4]["params"] == {"optim.lr": "0.01", "data.jitter": 0.25}
        assert {trial["state"] for trial in trials[4:]} <= {"complete", "pruned"}
        jitters = [trial["params"]["data.jitter"] for trial in trials]
        assert len(set(jitters)) == 6  # the sampler did not draw its first trials again
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_other_settings_are_refused(self, folder: Path, tiny_root: Path) -> None:
        done = train(*self.ARGUMENTS, "seed=1", "hydra.sweeper.n_trials=9", cwd=folder.parent, root=tiny_root)
        assert done.returncode == 2
        assert "error: seed is 1, but 'search' was trained with 0" in done.stderr
        assert "Traceback" not in done.stderr


def test_jobs_in_processes_of_their_own(tiny_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    jobs = ["seed=0,1", "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep", "trainer.max_steps=2"]
    done = train(*jobs, cwd=tmp_path, root=tiny_root)
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        assert json.loads((tmp_path / "sweep" / f"{seed}-resnet18" / "metrics.json").read_text())["seed"] == seed
    logs = sorted(path.read_text() for path in tmp_path.glob("sweep/.submitit/*/*_log.out"))
    assert len(logs) == 2
    for log, seed in zip(sorted(logs, key=lambda log: "/1-resnet18" in log), (0, 1), strict=True):
        assert log.count("run folder: ") == 1
        assert f"run folder: {tmp_path}/sweep/{seed}-resnet18" in log

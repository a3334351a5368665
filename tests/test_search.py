"""Searches with Optuna: pruning, continuing, sharing the study, and mistakes."""

import json
import math
import statistics
import sys

import pytest
from filelock import FileLock
from helpers.networks import Toy
from hydra.core.override_parser.overrides_parser import OverridesParser
from runs import SMALL

from facekp.compare.runs import read_runs
from facekp.errors import ConfigError, DataError
from facekp.models.registry import NETWORKS
from facekp.training import search
from facekp.training.rows import read_rows
from facekp.training.search import SearchConfig, _distribution, _open_study, main

optuna = pytest.importorskip("optuna", reason="the extra sweep is not installed")
ARGUMENTS = (
    *SMALL, "logger=csv", "callbacks.monitor=val/loss", "optim.warmup_steps=0", "optim.lr=choice(0.01,3.0)",
    "data.scales=[1]", "optim.head_lr_mult=1",
)  # fmt: skip


def study(folder):
    return _open_study(SearchConfig(dir=str(folder)), folder, lowest=True)


@pytest.fixture
def run(tiny_root, tmp_path):
    """Return a function that searches in `tmp_path / "search"` and returns that folder."""

    def run(*arguments):
        main([*ARGUMENTS, f"data.root={tiny_root}", f"search.dir={tmp_path / 'search'}", *arguments])
        return tmp_path / "search"

    return run


@pytest.fixture
def untrained(monkeypatch):
    """Let trials return their number as the score, or return or raise what is in the list, without training."""
    outcomes = []

    def train(config, trial):
        outcome = outcomes.pop(0) if outcomes else None
        if isinstance(outcome, BaseException):
            raise outcome
        return float(trial.number) if outcome is None else outcome

    monkeypatch.setattr(search, "_train", train)
    return outcomes


@pytest.mark.slow
class TestTrials:
    """A good and a much too high learning rate, by validation loss, pruned from the second on."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tiny_root, tmp_path_factory):
        folder = tmp_path_factory.mktemp("search") / "search"
        folder.mkdir()
        NETWORKS.register("toy")(Toy)
        study(folder).enqueue_trial({"optim.lr": "0.01"})
        study(folder).enqueue_trial({"optim.lr": "3.0"})
        pruning = ("search.prune_after_trials=1", "search.prune_after_steps=0", "search.n_trials=3", "search.seed=0")
        main([*ARGUMENTS, "model.name=toy", f"data.root={tiny_root}", f"search.dir={folder}", *pruning])
        return folder

    def test_a_trial_behind_the_median_is_stopped(self, folder):
        # The rule by hand: the best loss so far is above the median of what finished before, at the same step.
        trials, earlier = study(folder).trials, []
        assert len(trials) == 3
        for trial in trials:
            job = folder / f"{trial.number}-toy"
            losses = {int(row["step"]): row["val/loss"] for row in read_rows(job / "metrics.csv") if "val/loss" in row}
            behind = bool(earlier) and losses[2] > statistics.median(loss[2] for loss in earlier)
            assert trial.state.name == ("PRUNED" if behind else "COMPLETE")
            assert max(losses) == (2 if behind else 4)
            assert trial.value == pytest.approx(losses[2] if behind else min(losses.values()), rel=1e-5)
            assert (job / "metrics.json").exists() is not behind
            assert read_runs([job])[0].status_text == ("pruned at step 2 of 4" if behind else "finished")
            earlier += [] if behind else [losses]
        assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}

    def test_each_trial_trained_with_its_own_settings(self, folder):
        (done,) = [trial for trial in study(folder).trials if trial.state.name == "COMPLETE"][:1]
        summary = json.loads((folder / f"{done.number}-toy" / "metrics.json").read_text())
        optim, data = summary["settings"]["optim"], summary["settings"]["data"]
        assert optim["lr"] == float(done.params["optim.lr"])
        assert 0 <= data["jitter"] == done.params["data.jitter"] <= 0.8
        assert (optim["head_lr_mult"], data["scales"]) == (1, [1])  # fixed on the command line


class TestContinuing:
    @pytest.mark.slow
    def test_it_stops_at_the_number_wanted_and_names_the_best(self, run, untrained, capsys):
        run("search.n_trials=2", "search.seed=0")
        assert "best: trial 0, 0.000, optim.lr=" in capsys.readouterr().out
        folder = run("search.n_trials=5", "search.seed=0")
        trials = study(folder).trials
        assert [trial.value for trial in trials] == [0, 1, 2, 3, 4]
        assert len({trial.params["data.jitter"] for trial in trials}) == 5  # it did not draw the first two again
        run("search.n_trials=5")
        assert len(study(folder).trials) == 5

    @pytest.mark.slow
    def test_a_killed_trial_continues_in_its_folder(self, run, untrained):
        untrained += [None, KeyboardInterrupt()]  # the second ends as a killed process does: it tells nothing
        with pytest.raises(KeyboardInterrupt):
            run("search.n_trials=3")
        folder = run("search.n_trials=3")
        states = [trial.state.name for trial in study(folder).trials]
        assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
        killed, again = study(folder).trials[1:3]
        assert again.params == killed.params
        assert again.user_attrs["folder"] == "1-resnet18"
        assert sorted(path.name for path in folder.glob("*-*")) == ["0-resnet18", "1-resnet18", "3-resnet18"]

    @pytest.mark.slow
    def test_a_trial_of_a_process_that_runs_is_left_to_it_and_counted(self, run, untrained, tmp_path):
        untrained += [KeyboardInterrupt()]
        with pytest.raises(KeyboardInterrupt):
            run("search.n_trials=2")
        folder = tmp_path / "search"
        with FileLock(folder / "0-resnet18" / ".lock"):  # as if that process were still there
            run("search.n_trials=2")
        assert [trial.state.name for trial in study(folder).trials] == ["RUNNING", "COMPLETE"]

    @pytest.mark.slow
    def test_a_trial_that_fails_or_diverges_does_not_end_the_others(self, run, untrained, tmp_path, capsys):
        untrained += [RuntimeError("out of memory"), math.nan]
        with pytest.raises(RuntimeError, match="out of memory"):
            run("search.n_trials=3")
        assert "trial 0 failed: out of memory" in capsys.readouterr().err
        folder = tmp_path / "search"
        assert [trial.state.name for trial in study(folder).trials] == ["FAIL", "FAIL", "COMPLETE"]
        assert {found.error for found in read_runs([folder])} == {"", "out of memory"}


class TestMistakes:
    def test_other_settings_and_choices_are_refused(self, run, untrained):
        run("search.n_trials=1")
        with pytest.raises(ConfigError, match=r"^seed is 1, but '.*search' was trained with 0"):
            run("seed=1")
        with pytest.raises(ConfigError, match=r"^search\.space: .*keep the choices that the search began with"):
            run("optim.lr=choice(0.1,0.2)", "search.n_trials=2")

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("data.root=nowhere", "data.root is 'nowhere'"),
            ("search.space=nowhere.yaml", "search.space is 'nowhere.yaml': no such file"),
            (f"search.space={__file__}", r"search.space '.*test_search.py': no YAML mapping of settings"),
            ("search.n_trials=0", "search.n_trials is 0: give at least 1"),
            ("search.trials=3", "no setting is called 'search.trials': did you mean 'search.n_trials'"),
            ("trainer.devices=2", "trainer.devices is 2: a trial is one process"),
        ],
    )
    def test_a_mistake_is_found_before_any_trial(self, run, tmp_path, argument, message):
        with pytest.raises((ConfigError, DataError), match=message):
            run(argument)
        assert not (tmp_path / "search").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (["optim.warmup_steps=interval(0.1,0.9)"], r"optim\.warmup_steps"),  # trials cannot be composed
            ([], "image 3: cannot be read"),
        ],
    )
    def test_a_users_error_ends_it(self, run, untrained, tmp_path, arguments, error):
        untrained += [DataError("image 3: cannot be read")]
        with pytest.raises(Exception, match=error):
            run(*arguments)
        assert [trial.state.name for trial in study(tmp_path / "search").trials] == ["FAIL"]

    def test_without_optuna_one_line_says_how_to_install_it(self, run, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(ConfigError, match=r"^a search needs Optuna: pip install 'facekp\[sweep\]'$"):
            run()


def test_what_is_drawn_from():
    distributions = optuna.distributions
    parse = OverridesParser.create().parse_override
    for text, want in {
        "interval(1,8)": distributions.FloatDistribution(1.0, 8.0),
        "tag(log,interval(0.1,8))": distributions.FloatDistribution(0.1, 8.0, log=True),
        "int(interval(1,8))": distributions.IntDistribution(1, 8),
        "tag(log,int(interval(1,8)))": distributions.IntDistribution(1, 8, log=True),
        "range(1,4)": distributions.CategoricalDistribution(["1", "2", "3"]),
    }.items():
        assert _distribution(parse(f"x={text}")) == want, text

"""Continuing a run: bit for bit, with the same settings, from every place that is named."""

import json
import pickle
import shutil
import signal
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from runs import STEPS, PowerCutError, before_step, logged, settings, train

from facekp.config import CallbacksConfig
from facekp.errors import CheckpointError, ConfigError
from facekp.training import history
from facekp.training.callbacks import BestCheckpoint
from facekp.training.folder import Resume, find_resume
from facekp.training.history import RunLog
from facekp.training.rows import read_rows, score_rows
from facekp.weights.checkpoint import read_checkpoint


@pytest.fixture
def checkpoint(straight):
    return straight / "checkpoints" / "last.ckpt"


def last(run):
    return read_checkpoint(run / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def interrupted(tiny_root, tmp_path_factory):
    """Return the folder of a run that Ctrl-C ended after 6 steps; its last checkpoint is of step 4."""
    folder, handler = tmp_path_factory.mktemp("runs") / "interrupted", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), redirect_stderr(StringIO()) as said:
        train(settings(tiny_root, folder), before_step(6, KeyboardInterrupt))
    signal.signal(signal.SIGINT, handler)
    assert f"the same command with hydra.run.dir={folder} continues this run" in said.getvalue()
    assert last(folder)["global_step"] == 4
    return folder


class TestBitForBit:
    @pytest.mark.slow
    def test_in_a_new_folder_and_in_the_same(self, straight, interrupted, tiny_root, tmp_path):
        source = interrupted / "checkpoints" / "last.ckpt"
        before = read_rows(interrupted / "metrics.csv")
        assert [row["step"] for row in before] == [1, 2, 3, 4, 5, 6]
        new = train(replace(settings(tiny_root, tmp_path / "new"), resume=str(source)))
        same = train(settings(tiny_root, interrupted))  # what is in a run folder is gone on with
        want = last(straight)
        for folder in (new, same):
            assert logged(folder) == logged(straight)
            got = last(folder)
            assert got["global_step"] == want["global_step"] == STEPS
            assert list(got["state_dict"]) == list(want["state_dict"])
            for name, tensor in want["state_dict"].items():
                assert torch.equal(got["state_dict"][name], tensor), name
            for key, state in want["optimizer_states"][0]["state"].items():
                speed = got["optimizer_states"][0]["state"][key]["momentum_buffer"]
                assert torch.equal(speed, state["momentum_buffer"])
            # The clock goes on where the checkpoint was written.
            seconds = [row["seconds"] for row in read_rows(folder / "metrics.csv")]
            assert seconds[:4] == [row["seconds"] for row in before[:4]]
            assert seconds == sorted(seconds)
            # The best checkpoint is that of the scores, not the one that was taken along.
            best = json.loads((folder / "metrics.json").read_text())["val"]["best"]["step"]
            assert read_checkpoint(folder / "checkpoints" / "best.ckpt")["global_step"] == best

    @pytest.mark.slow
    def test_with_averaged_weights_and_without_the_ones_that_it_began_with(self, straight, tiny_root, tmp_path):
        begin = Path(shutil.copyfile(straight / "checkpoints" / "last.ckpt", tmp_path / "begin.ckpt"))
        change = {"init": str(begin), "optim.ema": 0.75}
        steps = {"max_steps": 4, "val_every": 2}
        whole, cut = (settings(tiny_root, tmp_path / name, change, **steps) for name in ("whole", "cut"))
        train(whole)
        with pytest.raises(PowerCutError):
            train(cut, before_step(3))
        begin.unlink()
        train(cut)
        got, want = last(tmp_path / "cut"), last(tmp_path / "whole")
        for part in ("state_dict", "current_model_state"):
            assert all(torch.equal(got[part][name], tensor) for name, tensor in want[part].items()), part
        assert logged(tmp_path / "cut") == logged(tmp_path / "whole")

    @pytest.mark.slow
    def test_the_best_checkpoint_so_far_is_taken_along(self, straight, tmp_path):
        best = straight / "checkpoints" / "best.ckpt"
        states = read_checkpoint(best)["callbacks"]
        (state,) = [state for key, state in states.items() if key.startswith("BestCheckpoint")]
        # The folder that the state names may have been moved away since.
        state |= {"best_model_path": "/gone/best.ckpt", "dirpath": "/gone"}
        callback = BestCheckpoint(tmp_path / "new", "val/miou", "max", Resume(best.with_name("last.ckpt"), 4))
        callback.load_state_dict(state)
        assert float(callback.best_model_score) == float(state["best_model_score"]) > 0
        assert callback.best_model_path == str(tmp_path / "new" / "best.ckpt")
        assert (tmp_path / "new" / "best.ckpt").read_bytes() == best.read_bytes()
        # Lightning restores callbacks again before it tests, when a better one may be there.
        (tmp_path / "new" / "best.ckpt").write_bytes(b"better")
        callback.load_state_dict(state)
        assert (tmp_path / "new" / "best.ckpt").read_bytes() == b"better"


class TestRows:
    def test_those_after_the_checkpoint_are_dropped(self, straight, tmp_path):
        # The run went on to step 8, but is resumed from 4: what it did later is not this run's.
        log = RunLog(tmp_path, straight, 4)
        assert sorted(log.rows) == [1, 2, 3, 4]
        assert [step for step, row in log.rows.items() if "val/loss" in row] == [4]

    def test_a_run_that_kept_none_says_that_its_summary_begins_late(self, tmp_path, capsys):
        (tmp_path / "new").mkdir()
        log = RunLog(tmp_path / "new", tmp_path / "old", 4)
        assert not log.rows
        expected = f"'{tmp_path}/old' has no metrics.csv: scores begin at step 4, times are unknown\n"
        assert capsys.readouterr().out == expected
        log.log_metrics({name: 0.5 for name in ("val/loss", "val/miou", "val/mean_f1", "val/pixel_accuracy")})
        log.save()
        # Nor where it is stopped and goes on once more.
        again = RunLog(tmp_path / "new", tmp_path / "new", 4)
        again.log_metrics({"train/loss": 2.0})
        scores = score_rows(list(again.rows.values()), CallbacksConfig())
        assert (scores["seconds"], scores["val"]["curve"][0]["seconds"]) == (None, None)

    def test_scoring_the_test_split_is_no_time_of_the_runs(self, tmp_path, monkeypatch):
        log = RunLog(tmp_path)
        began = log._began
        for seconds, name in ((7.0, "train/loss"), (10.0, "val/loss"), (50.0, "test/loss")):
            monkeypatch.setattr(history.time, "monotonic", lambda now=began + seconds: now)
            log.log_metrics({name: 1.0})
        assert log.rows == {0: {"step": 0, "seconds": 10.0, "train/loss": 1.0, "val/loss": 1.0, "test/loss": 1.0}}


class TestSettings:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model.name": "bisenet"}, "model.name is 'bisenet', but .* was trained with 'toy'"),
            ({"data.root": "elsewhere"}, "data.root is 'elsewhere', but .* was trained with "),
            ({"data.size": 96}, "data.size is 96, but .* was trained with 64"),
            (
                {"data.batch_size": 16, "seed": 1},
                r"size is 16, but .* with 4 \(different as well: seed\): use the same, ",
            ),
            ({"optim.lr": 0.1}, "optim.lr is 0.1, but .* was trained with 0.01"),
            ({"seed": 1}, "seed is 1, but .* was trained with 0"),
            ({"trainer.max_steps": 9}, "trainer.max_steps is 9, but .* was trained with 8"),
            ({"trainer.gradient_clip": 1.0}, "trainer.gradient_clip is 1.0, but .* was trained with None"),
            ({"trainer.precision": "bf16-mixed"}, "trainer.precision is 'bf16-mixed', but .* with '32-true'"),
        ],
    )
    def test_others_are_refused_in_a_runs_folder(self, checkpoint, tiny_root, change, message):
        config = settings(tiny_root, checkpoint.parents[1], change)
        with pytest.raises(ConfigError, match=message) as caught:
            find_resume(config)
        assert f"'{checkpoint}'" in str(caught.value)
        with pytest.raises(ConfigError, match=message) as caught:  # the folder's run has finished
            train(config)
        assert f"'{checkpoint.parents[1] / 'metrics.json'}'" in str(caught.value)
        sent = pickle.loads(pickle.dumps(caught.value))  # as a job in another process does
        assert (str(sent), sent.source) == (str(caught.value), checkpoint.parents[1] / "metrics.json")

    @pytest.mark.parametrize(
        "change", [{"data.root": "elsewhere"}, {"trainer.precision": "bf16-mixed"}, {"trainer.val_every": 2}]
    )
    def test_a_checkpoint_may_go_on_with_moved_data_and_elsewhere(self, checkpoint, tiny_root, tmp_path, change):
        found = find_resume(settings(tiny_root, tmp_path, {**change, "resume": str(checkpoint)}))
        assert found == Resume(checkpoint, STEPS)

    def test_others_are_refused_by_every_way_to_the_checkpoint(self, checkpoint, tiny_root, tmp_path, monkeypatch):
        # The weights of what would be the best so far by another score were not kept.
        change = {"callbacks.monitor": "val/loss", "resume": str(checkpoint)}
        with pytest.raises(ConfigError, match=r"callbacks\.monitor is 'val/loss', but .* was trained with 'val/miou'"):
            find_resume(settings(tiny_root, tmp_path, change))
        monkeypatch.chdir(checkpoint.parents[1])
        change = {"trainer.val_every": 2, "resume": "checkpoints/last.ckpt"}
        with pytest.raises(ConfigError, match=r"trainer\.val_every is 2, but .* was trained with 4"):
            find_resume(settings(tiny_root, checkpoint.parents[1], change))

    def test_where_and_how_a_run_runs_may_change(self, checkpoint, tiny_root):
        change = {"data.workers": 3, "trainer.devices": 2, "logger.name": "none", "resume": "last"}
        assert find_resume(settings(tiny_root, checkpoint.parents[1], change)).checkpoint == checkpoint


class TestSource:
    def test_a_finished_run_is_not_trained_again(self, straight, tiny_root, capsys):
        before = {path: path.stat().st_mtime_ns for path in straight.rglob("*")}
        train(settings(tiny_root, straight))
        score = json.loads((straight / "metrics.json").read_text())["val"]["best"]["miou"]
        assert capsys.readouterr().out == f"already finished, val/miou {score:.3f}: {straight}\n"
        assert {path: path.stat().st_mtime_ns for path in straight.rglob("*")} == before

    def test_a_metrics_json_of_something_else_is_refused(self, tiny_root, tmp_path):
        (tmp_path / "metrics.json").write_text('{"loss": 1.0}')
        with pytest.raises(ConfigError, match=r"metrics\.json' is not the summary of a run"):
            train(settings(tiny_root, tmp_path))

    def test_last_takes_the_newest_run_unless_it_is_another_job(self, checkpoint, tiny_root, tmp_path, monkeypatch):
        assert find_resume(settings(tiny_root, tmp_path)) is None
        config = settings(tiny_root, checkpoint.parents[2] / "another", {"resume": "last"})
        assert find_resume(config) == Resume(checkpoint, STEPS)
        with pytest.raises(ConfigError, match=r"resume is 'last', but no run in"):
            find_resume(settings(tiny_root, tmp_path / "runs" / "x", {"resume": "last"}))
        monkeypatch.setattr("facekp.training.folder.sweep_job", lambda: "a job of a sweep")
        assert find_resume(config) is None

    @pytest.mark.parametrize(
        ("part", "message"), [("settings", "has no record of its settings"), ("loops", "holds weights only")]
    )
    def test_what_cannot_be_continued_is_refused(self, checkpoint, tiny_root, tmp_path, part, message):
        content = torch.load(checkpoint, weights_only=True)
        del content[part]
        torch.save(content, tmp_path / "old.ckpt")
        with pytest.raises(CheckpointError, match=rf"old\.ckpt': {message}"):
            find_resume(settings(tiny_root, tmp_path, {"resume": str(tmp_path / "old.ckpt")}))


def test_a_log_that_cannot_be_written_ends_no_run_and_is_written_later(tmp_path, capsys):
    (tmp_path / "run").touch()  # not a folder, as yet
    log = RunLog(tmp_path / "run")
    for _ in range(2):
        log.log_metrics({"val/loss": 1.0})
        log.save()
    said = capsys.readouterr().err
    assert said.startswith("metrics.csv: cannot log (")
    assert said.count("training goes on") == 1
    (tmp_path / "run").unlink()
    (tmp_path / "run").mkdir()
    log.log_metrics({"val/loss": 2.0})
    log.save()
    assert [row["val/loss"] for row in read_rows(tmp_path / "run" / "metrics.csv")] == [2.0]

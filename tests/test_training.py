"""Whole training runs through train.py: its arithmetic, an interruption and resumption, and what a checkpoint holds."""

import copy
import json
import math
import pickle
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.losses import reference
from runs import STEPS, PowerCutError, changed, logged, settings
from torch._dynamo.utils import counters

from facekp.classes import ATTRIBUTES
from facekp.config import CallbacksConfig, OptimConfig
from facekp.data.dataset import to_batch
from facekp.errors import CheckpointError, ConfigError, DataError
from facekp.hardware import resolve_accelerator
from facekp.models import build_model, fuse
from facekp.training import history as runlog
from facekp.training.callbacks import BestCheckpoint
from facekp.training.folder import finished_score, record_settings, require_same
from facekp.training.history import RunLog, read_rows
from facekp.training.metrics import ParsingMetrics
from facekp.training.module import FaceParsing
from facekp.training.resume import Resume, find_resume
from facekp.training.run import build_data, build_module, build_trainer
from facekp.training.summary import score_rows
from facekp.weights.checkpoint import read_checkpoint
from facekp.weights.load import load_network


@pytest.fixture
def checkpoint(straight: Path) -> Path:
    return straight / "checkpoints" / "last.ckpt"


class TestRun:
    def test_losses_are_those_of_a_plain_loop(self, straight: Path, tiny_root: Path) -> None:
        # Everything by its definition: the reference loss, SGD written out, and the schedule of section 8.
        config = settings(tiny_root, straight)
        pl.seed_everything(config.seed, verbose=False)
        net = build_model("resnet18").train()
        data = build_data(config)
        speed = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
        # Warm-up 1e-5 * 1000^(i/2) for two steps, then 1e-2 * (1 - i/8)^0.9.
        rates = [1e-5, 1e-5 * math.sqrt(1000), *(1e-2 * (1 - i / 8) ** 0.9 for i in range(2, 8))]
        rows = logged(straight)[:STEPS]
        for row, batch, rate in zip(rows, map(to_batch, data.train_dataloader()), rates, strict=True):
            net.zero_grad()
            parts = [reference(s, batch["label"]) for s in net(batch["image"]).maps]
            sum(parts).backward()
            with torch.no_grad():
                for name, p in net.named_parameters():
                    speed[name].mul_(0.9).add_(p.grad + (5e-4 * p if p.ndim == 4 else 0))
                    p -= rate * (2 if name.startswith("heads.") else 1) * speed[name]
            assert row["lr"] == pytest.approx(rate, rel=1e-6)
            if row["step"] > 4:
                continue  # float32's rounding grows with every step: 1e-5 here, 1e-2 at the next
            assert row["train/loss"] == pytest.approx(sum(parts).item(), rel=1e-4)
            assert [row[f"train/loss_{s}"] for s in (8, 16, 32)] == pytest.approx([p.item() for p in parts], rel=1e-4)

    @pytest.mark.slow
    def test_compiled_trains_alike(
        self,
        straight: Path,
        train: Callable[..., Path],
        tiny_root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # Without code generation, which takes minutes and is not ours: what is traced, forward and back, runs as it is.
        compile_ = torch.nn.Module.compile
        monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compile_, backend="aot_eager"))
        torch._dynamo.reset()
        counters.clear()
        folder = train(settings(tiny_root, tmp_path, compile=True))
        assert counters["aot_autograd"]["ok"] > 0
        assert not counters["graph_break"]
        (rows, states), (want, want_states) = (
            (logged(run), read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"])
            for run in (folder, straight)
        )
        assert [row.get("train/loss") for row in rows[:4]] == pytest.approx([row["train/loss"] for row in want[:4]])
        assert states.keys() == want_states.keys()

    def test_validation_scores_are_those_of_the_checkpoint(
        self, straight: Path, tiny_root: Path, checkpoint: Path
    ) -> None:
        net = load_network(checkpoint)[0]
        data = build_data(settings(tiny_root, straight))
        metrics, losses, count = ParsingMetrics(), 0.0, 0
        with torch.inference_mode():
            for batch in map(to_batch, data.val_dataloader()):
                scores, labels = net(batch["image"]).predict, batch["label"]
                metrics.update(fuse(scores, (64, 64)).argmax(1), labels)
                losses += len(labels) * sum(reference(s, labels) for s in scores).item()
                count += len(labels)
        row = [row for row in logged(straight) if "val/loss" in row][-1]
        assert count == 3  # batches of two and one: the mean is over images
        assert row["val/loss"] == pytest.approx(losses / count, rel=1e-4)
        # A pixel or two may lie on a tie.
        assert row["val/pixel_accuracy"] == pytest.approx(metrics.compute()["pixel_accuracy"].item(), abs=5 / 12288)

    def test_rows_are_steps(self, straight: Path) -> None:
        rows = logged(straight)
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
        assert [row["step"] for row in rows if "val/loss" in row] == [4, 8]
        assert [row["step"] for row in rows if "test/loss" in row] == [8]

    def test_a_last_validation_belongs_to_the_last_step(
        self, tiny_root: Path, train: Callable[..., Path], tmp_path: Path
    ) -> None:
        # Validated at 2 by plan and at 3 because it is the end.
        folder = train(settings(tiny_root, tmp_path / "short", max_steps=3, val_every=2))
        rows = logged(folder)
        assert [row["step"] for row in rows] == [1, 2, 3]
        assert [row["step"] for row in rows if "val/loss" in row] == [2, 3]
        summary = json.loads((folder / "metrics.json").read_text())
        assert summary["steps"] == 3
        assert summary["val"]["last"]["step"] == 3
        assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 3

    def test_summary(self, straight: Path) -> None:
        rows, summary = logged(straight), json.loads((straight / "metrics.json").read_text())
        assert (summary["model"], summary["seed"], summary["steps"]) == (
            {"name": "resnet18", "pretrained": False}, 0, 8)  # fmt: skip
        assert summary["train"]["loss"] == pytest.approx(sum(r["train/loss"] for r in rows) / STEPS)
        best = max((rows[3], rows[7]), key=lambda r: r["val/miou"])
        for name, row in (("best", best), ("last", rows[7])):
            scores = summary["val"][name]
            assert scores["step"] == row["step"]
            assert scores["miou"] == pytest.approx(row["val/miou"], abs=1e-6)
            assert list(scores["iou"]) == list(scores["f1"]) == list(ATTRIBUTES)
            assert scores["iou"]["hair"] == pytest.approx(row["val/iou/hair"], abs=1e-6)
        assert summary["test"]["loss"] == pytest.approx(rows[7]["test/loss"], abs=1e-6)
        assert [(row["step"], row["miou"]) for row in summary["val"]["curve"]] == [
            (step, pytest.approx(rows[step - 1]["val/miou"], abs=1e-6)) for step in (4, 8)]  # fmt: skip
        clock = read_rows(straight / "metrics.csv")
        for point in summary["val"]["curve"]:
            losses = [row["train/loss"] for row in rows if row["step"] <= point["step"] and "train/loss" in row]
            assert point["train_loss"] == pytest.approx(sum(losses) / len(losses))
            assert point["seconds"] == clock[point["step"] - 1]["seconds"]
        assert summary["settings"]["data"]["batch_size"] == 4
        assert "output_dir" not in summary["settings"]  # it would tell readers of a published result nothing
        assert summary["precision"] == "32-true"
        assert summary["versions"]["torch"] == torch.__version__.partition("+")[0]
        cost = summary["cost"]
        assert cost["images_per_second"] == pytest.approx(median(r["train/images_per_second"] for r in clock), abs=0.01)
        assert cost["peak_memory"] == pytest.approx(max(r["train/peak_memory"] for r in clock), abs=0.1)
        assert 100 < cost["peak_memory"] < 100_000  # MiB; torch alone takes more than 100
        assert cost["parameters"] == sum(p.numel() for p in build_model("resnet18").parameters())
        assert summary["test"]["step"] == best["step"]  # it is the best checkpoint that was tested
        saved = read_checkpoint(straight / "checkpoints" / "best.ckpt")
        assert saved["global_step"] == best["step"]


@pytest.fixture(scope="module")
def interrupted(tiny_root: Path, train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was cut after 6 steps; its last checkpoint is of step 4."""
    folder = tmp_path_factory.mktemp("runs") / "interrupted"
    with pytest.raises(PowerCutError):
        train(settings(tiny_root, folder), cut_before=6)
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 4
    return folder


class TestSameSettings:
    def test_what_an_old_record_lacks_had_its_default(self, tiny_root: Path, tmp_path: Path) -> None:
        config = settings(tiny_root, tmp_path)
        then = record_settings(config, None)
        del then["optim"]["ema"], then["init"]
        require_same(record_settings(config, None), then, tmp_path)
        for name, value in (("optim.ema", 0.9), ("init", "shipped")):
            with pytest.raises(ConfigError, match=rf"{name} is {value!r}, but '.*' was trained with None"):
                require_same(record_settings(changed(config, {name: value}), None), then, tmp_path)


class TestResume:
    @pytest.mark.slow
    def test_in_a_new_folder_and_in_the_same(
        self, straight: Path, interrupted: Path, tiny_root: Path, train: Callable[..., Path], tmp_path: Path
    ) -> None:
        source = interrupted / "checkpoints" / "last.ckpt"
        before = read_rows(interrupted / "metrics.csv")
        assert [row["step"] for row in before] == [1, 2, 3, 4, 5, 6]
        new = train(replace(settings(tiny_root, tmp_path / "new"), resume=str(source)))
        same = train(settings(tiny_root, interrupted))  # what is in a run folder is gone on with
        want = read_checkpoint(straight / "checkpoints" / "last.ckpt")
        for folder in (new, same):
            assert logged(folder) == logged(straight)
            got = read_checkpoint(folder / "checkpoints" / "last.ckpt")
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

    def test_the_best_checkpoint_so_far_is_taken_along(self, interrupted: Path, tmp_path: Path) -> None:
        best = interrupted / "checkpoints" / "best.ckpt"
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

    def test_rows_after_the_checkpoint_are_dropped(self, checkpoint: Path, tmp_path: Path) -> None:
        # The run went on to step 8, but is resumed from 4: what it did later is not this run's.
        log = RunLog(tmp_path, checkpoint.parents[1], 4)
        assert sorted(log.rows) == [1, 2, 3, 4]
        assert [step for step, row in log.rows.items() if "val/loss" in row] == [4]

    def test_a_run_that_kept_no_rows_says_that_its_summary_begins_late(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "new").mkdir()
        log = RunLog(tmp_path / "new", tmp_path / "old", 4)
        assert not log.rows
        expected = f"'{tmp_path}/old' kept no metrics.csv: scores begin at step 4, times are unknown\n"
        assert capsys.readouterr().out == expected
        log.log_metrics({name: 0.5 for name in ("val/loss", "val/miou", "val/mean_f1", "val/pixel_accuracy")})
        log.save()
        # Nor where it is stopped and goes on once more.
        again = RunLog(tmp_path / "new", tmp_path / "new", 4)
        again.log_metrics({"train/loss": 2.0})
        scores = score_rows(list(again.rows.values()), CallbacksConfig())
        assert (scores["seconds"], scores["val"]["curve"][0]["seconds"]) == (None, None)

    def test_scoring_the_test_split_is_no_time_of_the_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = RunLog(tmp_path)
        began = log._began
        for seconds, name in ((7.0, "train/loss"), (10.0, "val/loss"), (50.0, "test/loss")):
            monkeypatch.setattr(runlog.time, "monotonic", lambda now=began + seconds: now)
            log.log_metrics({name: 1.0})
        assert log.rows == {0: {"step": 0, "seconds": 10.0, "train/loss": 1.0, "val/loss": 1.0, "test/loss": 1.0}}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model.name": "bisenet"}, "model.name is 'bisenet', but .* was trained with 'resnet18'"),
            ({"data.root": "elsewhere"}, "data.root is 'elsewhere', but .* was trained with "),
            ({"data.size": 96}, "data.size is 96, but .* was trained with 64"),
            ({"data.batch_size": 16}, "data.batch_size is 16, but .* was trained with 4"),
            ({"optim.lr": 0.1}, "optim.lr is 0.1, but .* was trained with 0.01"),
            ({"seed": 1}, "seed is 1, but .* was trained with 0"),
            ({"trainer.max_steps": 9}, "trainer.max_steps is 9, but .* was trained with 8"),
            ({"trainer.gradient_clip": 1.0}, "trainer.gradient_clip is 1.0, but .* was trained with None"),
            ({"trainer.precision": "bf16-mixed"}, "trainer.precision is 'bf16-mixed', but .* with '32-true'"),
        ],
    )
    def test_other_settings_are_refused_in_a_runs_folder(
        self, checkpoint: Path, tiny_root: Path, train: Callable[..., Path], change: dict[str, Any], message: str
    ) -> None:
        config = changed(settings(tiny_root, checkpoint.parents[1]), change)
        with pytest.raises(ConfigError, match=message) as caught:
            find_resume(config)
        assert f"'{checkpoint}'" in str(caught.value)
        with pytest.raises(ConfigError, match=message) as caught:  # the folder's run has finished
            train(config)
        assert f"'{checkpoint.parents[1] / 'metrics.json'}'" in str(caught.value)
        sent = pickle.loads(pickle.dumps(caught.value))  # as a job in another process does
        assert (str(sent), sent.source) == (str(caught.value), checkpoint.parents[1] / "metrics.json")

    @pytest.mark.parametrize(
        "change",
        [{"data.root": "elsewhere"}, {"trainer.precision": "bf16-mixed"}, {"trainer.val_every": 2}],
    )
    def test_a_checkpoint_may_go_on_with_moved_data_and_on_another_machine(
        self, checkpoint: Path, tiny_root: Path, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        config = changed(settings(tiny_root, tmp_path), change)
        assert find_resume(replace(config, resume=str(checkpoint))).step == STEPS

    def test_the_score_that_chooses_the_best_may_not(self, checkpoint: Path, tiny_root: Path, tmp_path: Path) -> None:
        # The weights of what would be the best so far by another score were not kept.
        config = changed(settings(tiny_root, tmp_path), {"callbacks.monitor": "val/loss", "resume": str(checkpoint)})
        with pytest.raises(ConfigError, match=r"callbacks\.monitor is 'val/loss', but .* was trained with 'val/miou'"):
            find_resume(config)

    def test_a_run_folder_is_the_same_by_a_relative_path(
        self, checkpoint: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(checkpoint.parents[1])
        change = {"trainer.val_every": 2, "resume": "checkpoints/last.ckpt"}
        with pytest.raises(ConfigError, match=r"trainer\.val_every is 2, but .* was trained with 4"):
            find_resume(changed(settings(tiny_root, checkpoint.parents[1]), change))

    def test_where_and_how_a_run_runs_may_change(self, checkpoint: Path, tiny_root: Path) -> None:
        change = {"data.workers": 3, "trainer.devices": 2, "logger.name": "none", "resume": "last"}
        assert find_resume(changed(settings(tiny_root, checkpoint.parents[1]), change)).checkpoint == checkpoint

    def test_a_checkpoint_without_its_settings_is_refused(
        self, checkpoint: Path, tiny_root: Path, tmp_path: Path
    ) -> None:
        content = torch.load(checkpoint, weights_only=True)
        del content["settings"]
        torch.save(content, tmp_path / "old.ckpt")
        with pytest.raises(CheckpointError, match=r"old\.ckpt': has no record of its settings"):
            find_resume(replace(settings(tiny_root, tmp_path), resume=str(tmp_path / "old.ckpt")))

    def test_a_finished_run_is_not_trained_again(
        self, straight: Path, tiny_root: Path, train: Callable[..., Path], script: ModuleType
    ) -> None:
        before = {path: path.stat().st_mtime_ns for path in straight.rglob("*")}
        score = script.train(settings(tiny_root, straight))
        assert score == json.loads((straight / "metrics.json").read_text())["val"]["best"]["miou"]
        assert {path: path.stat().st_mtime_ns for path in straight.rglob("*")} == before

    def test_a_metrics_json_of_something_else_is_refused(
        self, tiny_root: Path, tmp_path: Path, script: ModuleType
    ) -> None:
        (tmp_path / "metrics.json").write_text('{"loss": 1.0}')
        with pytest.raises(ConfigError, match=r"metrics\.json' is no summary of a run"):
            script.train(settings(tiny_root, tmp_path))

    def test_last_takes_the_newest_run_beside(self, checkpoint: Path, tiny_root: Path) -> None:
        config = replace(settings(tiny_root, checkpoint.parents[2] / "another"), resume="last")
        assert find_resume(config).checkpoint == checkpoint
        assert find_resume(config).step == STEPS

    def test_last_without_a_run_is_refused(self, tiny_root: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"resume is 'last', but no run in"):
            find_resume(replace(settings(tiny_root, tmp_path / "runs" / "x"), resume="last"))

    def test_nothing_to_resume(self, tiny_root: Path, tmp_path: Path) -> None:
        assert find_resume(settings(tiny_root, tmp_path)) is None

    def test_weights_alone_cannot_be_resumed(self, checkpoint: Path, tiny_root: Path, tmp_path: Path) -> None:
        content = torch.load(checkpoint, weights_only=True)
        del content["loops"]
        torch.save(content, tmp_path / "weights.ckpt")
        with pytest.raises(CheckpointError, match=r"weights\.ckpt': holds weights only"):
            find_resume(replace(settings(tiny_root, tmp_path), resume=str(tmp_path / "weights.ckpt")))


class TestDataSets:
    def test_one_without_validation_images_is_refused_before_training(self, tiny_root: Path, tmp_path: Path) -> None:
        # There would be no checkpoint at the end.
        root = tmp_path / "faces"
        root.mkdir()
        for name in ("images", "labels"):
            (root / name).symlink_to(tiny_root / name)
        rows = (tiny_root / "index.csv").read_text().splitlines()
        (root / "index.csv").write_text("\n".join(row for row in rows if not row.endswith("val")))
        with pytest.raises(DataError, match=r"index\.csv has no 'val' image"):
            build_data(settings(root, tmp_path)).setup("fit")


class TestTrainer:
    def test_gradients_are_clipped(self, tiny_root: Path, train: Callable[..., Path], tmp_path: Path) -> None:
        # One step of plain SGD without warm-up: together the weights move by the learning rate times the norm.
        plain = OptimConfig(warmup_steps=0, momentum=0.0, weight_decay=0.0, head_lr_mult=1.0)
        config = replace(settings(tiny_root, tmp_path, max_steps=1, gradient_clip=1.0), optim=plain)
        pl.seed_everything(config.seed, verbose=False)
        before = build_model("resnet18").state_dict()
        after = load_network(train(config) / "checkpoints" / "last.ckpt")[0]
        moved = sum((p - before[name]).double().square().sum() for name, p in after.named_parameters()) ** 0.5
        assert moved.item() == pytest.approx(1e-2 * 1.0, rel=1e-3)

    def test_clipping_goes_without_the_fused_optimiser_which_rules_it_out(
        self, tiny_root: Path, tmp_path: Path
    ) -> None:
        for clip, fused in ((None, True), (1.0, False)):
            config = settings(tiny_root, tmp_path, gradient_clip=clip)
            module = build_module(config)
            module.trainer = build_trainer(config, [])
            assert module.configure_optimizers()["optimizer"].defaults["fused"] is fused

    def test_ctrl_c_says_how_to_go_on(
        self, tiny_root: Path, train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        handler = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(KeyboardInterrupt):
                train(settings(tiny_root, tmp_path), cut_before=6, error=KeyboardInterrupt)
        finally:
            signal.signal(signal.SIGINT, handler)
        assert f"resume={tmp_path}/checkpoints/last.ckpt continues this run" in capsys.readouterr().err

    @pytest.mark.parametrize("error", [RuntimeError("no memory"), SystemExit(144)])  # the latter as submitit exits
    def test_another_error_passes_as_it_is(
        self, tiny_root: Path, train: Callable[..., Path], tmp_path: Path, error: BaseException
    ) -> None:
        with pytest.raises(type(error)) as end:
            train(settings(tiny_root, tmp_path), cut_before=1, error=error)
        assert end.value is error

    def test_what_lightning_finds_at_odds_with_the_data_is_one_line(
        self, tiny_root: Path, train: Callable[..., Path], tmp_path: Path
    ) -> None:
        # A tenth of two validation batches is none.
        with pytest.raises(ConfigError, match=r"the trainer cannot run with these settings .*limit_val_batches"):
            train(settings(tiny_root, tmp_path, limit_val_batches=0.1))

    def test_an_error_of_a_callback_is_not_taken_for_the_trainers(
        self, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: Any) -> None:
            raise ConfigError("a callback needs a package")

        monkeypatch.setattr("facekp.training.run.build_callbacks", refuse)
        with pytest.raises(ConfigError, match=r"^a callback needs a package$"):
            build_trainer(settings(tiny_root, tmp_path), [])

    def test_apples_gpus_are_not_taken_by_themselves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for there, device in ((False, "cpu"), (True, "cuda")):
            monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
            assert resolve_accelerator("auto") == device

    def test_a_run_that_diverged_at_once_is_summed_up(
        self, tiny_root: Path, train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        diverging = {"optim.lr": 1e30, "callbacks.monitor": "val/loss"}
        config = changed(settings(tiny_root, tmp_path, max_steps=4), diverging)
        train(config)
        assert ", loss nan (step 4)" in capsys.readouterr().out
        assert math.isnan(finished_score(config))

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        summary = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
        assert summary["train"]["loss"] is summary["val"]["curve"][0]["loss"] is None


class Payload:
    """Something that runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def edited(**changes: Any) -> Callable[[Path, Path], None]:
    """Return what writes a checkpoint whose description is changed."""

    def write(source: Path, out: Path) -> None:
        content = copy.deepcopy(torch.load(source, weights_only=True))
        content["facekp"] |= changes
        torch.save(content, out)

    return write


def laden(source: Path, out: Path) -> None:
    content = torch.load(source, weights_only=True)
    torch.save({**content, "extra": Payload(out.with_suffix(".ran"))}, out)


def lacking_weights(source: Path, out: Path) -> None:
    content = torch.load(source, weights_only=True)
    torch.save({**content, "state_dict": {"net.stem.0.weight": torch.zeros(2)}}, out)


BAD_FILES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "missing": (lambda source, out: None, "no such file"),
    "folder": (lambda source, out: out.mkdir(), "no such file"),
    "empty": (lambda source, out: out.touch(), "not a checkpoint, or truncated"),
    "text": (lambda source, out: out.write_text("hello, I am no checkpoint\n" * 99), "checkpoint"),
    "truncated": (lambda source, out: out.write_bytes(source.read_bytes()[:-1000]), "not a checkpoint, or truncated"),
    "half": (lambda source, out: out.write_bytes(source.read_bytes()[: 10**6]), "not a checkpoint, or truncated"),
    # What torch's unpickler makes of these: struct.error, and IndexError.
    "cut pickle": (lambda source, out: out.write_bytes(b"\x80\x02X\x05"), "not a checkpoint, or truncated"),
    "hollow pickle": (lambda source, out: out.write_bytes(b"\x80\x02."), "not a checkpoint, or truncated"),
    "laden": (laden, "holds something other than plain data and tensors"),
    "plain pickle": (
        lambda source, out: out.write_bytes(pickle.dumps(Payload(out.with_suffix(".ran")))),
        "holds something other than plain data and tensors",
    ),
    "state dict": (lambda source, out: torch.save({"weight": torch.zeros(3)}, out), "facekp did not write it"),
    "foreign": (
        lambda source, out: torch.save({"state_dict": {}, "epoch": 3, "pytorch-lightning_version": "2.6.0"}, out),
        "facekp did not write it",
    ),
    "tensor": (lambda source, out: torch.save(torch.zeros(3), out), "facekp did not write it"),
    "later format": (edited(format=2), "its format is 2, this version reads 1"),
    "other classes": (
        edited(classes=["a", "b"]),
        "its classes is ['a', 'b'], this version reads ['background'",
    ),
    "other normalisation": (edited(mean=[0.5, 0.5, 0.5]), "its mean is [0.5, 0.5, 0.5], this version reads [0.485"),
    "unknown network": (edited(model={"name": "resnet50"}), "do not fit this version's networks"),
    "import by name": (edited(model={"name": "resnet18", "_target_": "os.system"}), "do not fit this version's"),
    "other network": (lacking_weights, "do not fit this version's networks"),
}


class TestCheckpoint:
    def test_it_is_plain_data_that_says_what_prediction_needs(self, checkpoint: Path) -> None:
        content = torch.load(checkpoint, weights_only=True)
        assert content["facekp"] == {
            "format": 1,
            "model": {"name": "resnet18", "pretrained": False},
            "size": 64,
            "loss": {"name": "ohem", "threshold": 0.7, "min_kept": 0.0625},
            "classes": list(ATTRIBUTES),
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        }

    def test_the_network_gives_the_modules_scores(self, checkpoint: Path, tiny_root: Path) -> None:
        module = build_module(settings(tiny_root, checkpoint.parents[1]))
        assert isinstance(module, FaceParsing)
        module.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
        net, about = load_network(checkpoint)
        assert not net.training
        assert about["size"] == 64
        images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
        with torch.inference_mode():
            for got, want in zip(net.double()(images).maps, module.eval().double()(images).maps, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)

    def test_a_pretrained_network_is_rebuilt_without_fetching(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        edited(model={"name": "resnet18", "pretrained": "imagenet"})(checkpoint, tmp_path / "a.ckpt")
        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: pytest.fail("fetched"))
        load_network(tmp_path / "a.ckpt")

    @pytest.mark.parametrize("kind", BAD_FILES)
    def test_bad_files_are_refused_in_one_line(self, checkpoint: Path, tmp_path: Path, kind: str) -> None:
        write, message = BAD_FILES[kind]
        path = tmp_path / "bad.ckpt"
        write(checkpoint, path)
        with pytest.raises(CheckpointError) as caught:
            load_network(path)
        text = str(caught.value)
        assert f"checkpoint '{path}': " in text
        assert message in text
        assert "\n" not in text
        assert len(text) < len(str(path)) + 300
        assert not path.with_suffix(".ran").exists()

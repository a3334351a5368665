"""Whole training runs through train.py: their arithmetic, scores and summary, how they end, and that they learn."""

import itertools
import json
import math
from functools import partialmethod
from statistics import median
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import pytorch_lightning as pl
import torch
from helpers.losses import reference
from pytorch_lightning.callbacks import LambdaCallback
from runs import STEPS, PowerCutError, before_step, logged, settings, train
from torch._dynamo.utils import counters

from facekp.classes import CELEBAMASK_HQ
from facekp.config import DataConfig
from facekp.data.dataset import to_batch
from facekp.data.sources import prepared_root
from facekp.errors import ConfigError, DataError
from facekp.hardware import resolve_accelerator
from facekp.models import build_model, fuse
from facekp.training.callbacks import TimeLimit
from facekp.training.folder import finished_score
from facekp.training.history import RunLog
from facekp.training.metrics import ParsingMetrics
from facekp.training.rows import read_rows
from facekp.training.run import build_data, build_module, build_trainer
from facekp.weights.checkpoint import read_checkpoint
from facekp.weights.load import load_network


class TestRun:
    def test_losses_are_those_of_a_plain_loop(self, straight, tiny_root):
        # Everything by its definition: the reference loss, SGD written out, and the schedule of section 8.
        config = settings(tiny_root, straight)
        pl.seed_everything(config.seed, verbose=False)
        net = build_model("toy").train()
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
    def test_a_network_that_cannot_be_compiled_is_one_line(self, tiny_root, tmp_path, monkeypatch):
        def backend(graph, inputs):
            raise OSError("No working C++ compiler found")

        monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend=backend))
        torch._dynamo.reset()
        with pytest.raises(ConfigError, match=r"trainer\.compile is true, .*No working C\+\+ compiler.*: install"):
            train(settings(tiny_root, tmp_path, compile=True))

    @pytest.mark.slow
    def test_compiled_trains_alike(self, straight, tiny_root, tmp_path, monkeypatch):
        # Without code generation, which takes minutes and is not ours: what is traced, forward and back, runs as it is.
        compile_ = torch.nn.Module.compile
        monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compile_, backend="aot_eager"))
        torch._dynamo.reset()
        counters.clear()
        with pytest.raises(PowerCutError):
            train(settings(tiny_root, tmp_path, compile=True), before_step(4))
        assert counters["aot_autograd"]["ok"] > 0
        assert not counters["graph_break"]
        got, want = ([row.get("train/loss") for row in logged(run)[:4]] for run in (tmp_path, straight))
        assert got == pytest.approx(want)
        got, want = (read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (tmp_path, straight))
        assert got.keys() == want.keys()

    @pytest.mark.slow
    def test_a_time_limit_ends_with_a_validation_and_the_learning_rate_at_zero(self, tiny_root, tmp_path, monkeypatch):
        ticks, done = itertools.count(), itertools.count(1)
        now = {"steps": 0}

        def clock():  # 15 s a step; never the same twice
            return 15 * now["steps"] + 1e-6 * next(ticks)

        step = LambdaCallback(on_train_batch_end=lambda *args: now.update(steps=next(done)))
        monkeypatch.setattr("pytorch_lightning.callbacks.timer.time", SimpleNamespace(monotonic=clock))
        config = settings(tiny_root, tmp_path, {"optim.warmup_steps": 0}, max_time=1, max_steps=800, val_every=3)
        with pytest.raises(PowerCutError):
            train(config, step, before_step(3))
        train(config, step)  # from step 3, with 45 s spent
        rows = logged(tmp_path)
        assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
        assert [row["step"] for row in rows if "val/miou" in row] == [3, 5]
        # Of the time when the step before began, or of the steps if that is more.
        rates = [1e-2 * (1 - share) ** 0.9 for share in (0, 1 / 800, 1 / 4, 2 / 4, 3 / 4)]
        assert [row["lr"] for row in rows] == pytest.approx(rates, rel=1e-4, abs=1e-6)
        assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 5

    def test_the_clock_of_older_checkpoints_goes_on(self):
        limit, again = TimeLimit(minutes=1), TimeLimit(minutes=1)
        limit.load_state_dict({"spent": 30.0})
        again.load_state_dict(limit.state_dict())
        assert limit.time_elapsed() == again.time_elapsed() == 30.0

    def test_validation_scores_are_those_of_the_checkpoint(self, straight, tiny_root):
        net = load_network(straight / "checkpoints" / "last.ckpt")[0]
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

    def test_summary(self, straight):
        rows, summary = logged(straight), json.loads((straight / "metrics.json").read_text())
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
        assert (summary["model"], summary["seed"], summary["steps"]) == (
            {"name": "toy", "pretrained": False}, 0, 8)  # fmt: skip
        assert summary["train"]["loss"] == pytest.approx(sum(r["train/loss"] for r in rows) / STEPS)
        best = max((rows[3], rows[7]), key=lambda r: r["val/miou"])
        for name, row in (("best", best), ("last", rows[7])):
            scores = summary["val"][name]
            assert scores["step"] == row["step"]
            assert scores["miou"] == pytest.approx(row["val/miou"], abs=1e-6)
            assert list(scores["iou"]) == list(scores["f1"]) == list(CELEBAMASK_HQ.names)
            assert scores["iou"]["hair"] == pytest.approx(row["val/iou/hair"], abs=1e-6)
        assert summary["test"]["loss"] == pytest.approx(rows[7]["test/loss"], abs=1e-6)
        clock, curve = read_rows(straight / "metrics.csv"), summary["val"]["curve"]
        assert [point["step"] for point in curve] == [4, 8]
        for point in curve:
            row = rows[point["step"] - 1]
            assert point["miou"] == pytest.approx(row["val/miou"], abs=1e-6)
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
        assert cost["parameters"] == sum(p.numel() for p in build_model("toy").parameters())
        assert summary["test"]["step"] == best["step"]  # it is the best checkpoint that was tested
        assert read_checkpoint(straight / "checkpoints" / "best.ckpt")["global_step"] == best["step"]


class TestTrainer:
    def test_clipping_goes_without_the_fused_optimiser_which_rules_it_out(self, tiny_root, tmp_path):
        for clip, fused in ((None, True), (1.0, False)):
            config = settings(tiny_root, tmp_path, gradient_clip=clip)
            module = build_module(config)
            module.trainer = build_trainer(config, [])
            assert module.configure_optimizers()["optimizer"].defaults["fused"] is fused

    @pytest.mark.parametrize("error", [RuntimeError("no memory"), SystemExit(144)])  # the latter as submitit exits
    def test_another_error_passes_as_it_is(self, tiny_root, tmp_path, error):
        with pytest.raises(type(error)) as end:
            train(settings(tiny_root, tmp_path), before_step(0, error))
        assert end.value is error

    def test_what_lightning_finds_at_odds_with_the_data_is_one_line(self, tiny_root, tmp_path):
        # A tenth of two validation batches is none.
        with pytest.raises(ConfigError, match=r"the trainer cannot run with these settings .*limit_val_batches"):
            train(settings(tiny_root, tmp_path, limit_val_batches=0.1))

    def test_an_error_of_a_callback_is_not_taken_for_the_trainers(self, tiny_root, tmp_path):
        error = ConfigError("a callback needs a package")
        with patch("facekp.training.run.build_callbacks", side_effect=error), pytest.raises(ConfigError) as caught:
            build_trainer(settings(tiny_root, tmp_path), [])
        assert caught.value is error

    def test_apples_gpus_are_not_taken(self, monkeypatch):
        for there, device in ((False, "cpu"), (True, "cuda")):
            monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
            assert resolve_accelerator("auto") == device

    @pytest.mark.slow
    def test_a_run_that_diverged_at_once_is_summed_up(self, tiny_root, tmp_path, capsys):
        diverging = {"optim.lr": 1e30, "optim.warmup_steps": 0, "callbacks.monitor": "val/loss"}
        config = settings(tiny_root, tmp_path, diverging, max_steps=2)
        train(config)
        assert ", loss nan (step 2)" in capsys.readouterr().out
        assert math.isnan(finished_score(config))

        summary = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)  # nan is no JSON
        assert summary["train"]["loss"] is summary["val"]["curve"][0]["loss"] is None

    def test_data_without_validation_images_is_refused_before_training(self, tiny_root, tmp_path):
        # There would be no checkpoint at the end.
        for name in ("images", "labels"):
            (tmp_path / name).symlink_to(tiny_root / name)
        rows = (tiny_root / "index.csv").read_text().splitlines()
        (tmp_path / "index.csv").write_text("\n".join(row for row in rows if not row.endswith("val")))
        with pytest.raises(DataError, match=r"index\.csv has no 'val' image"):
            build_data(settings(tmp_path, tmp_path)).setup("fit")


@pytest.mark.slow
def test_progress_in_a_log_is_a_line_with_the_newest_scores(tiny_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("facekp.cli.PROGRESS_AFTER", 0)
    monkeypatch.setattr("facekp.cli.LINE_EVERY", 0)
    train(settings(tiny_root, tmp_path, {"callbacks.progress": True}, max_steps=2, val_every=2))
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["val", "run"]  # Lightning's own bar would be there too
    last = [line for line in err.splitlines() if line.startswith("training: ")][-1]
    scores = read_rows(tmp_path / "metrics.csv")[-1]
    assert last.startswith("training: 2 of 2 (")
    assert last.endswith(f", val/loss={scores['val/loss']:.3g}, val/miou={scores['val/miou']:.3g})")


@pytest.mark.slow
def test_a_short_run_learns(request, tmp_path):
    try:
        faces = request.getfixturevalue("real_root")
    except pytest.skip.Exception:
        counts = {"synthetic_train": 64, "synthetic_val": 32, "synthetic_test": 1}
        faces = prepared_root(DataConfig(source="synthetic", cache=str(tmp_path / "faces"), size=96, **counts))
    data = {"data.size": 96, "data.scales": [0.75, 1], "data.batch_size": 8, "data.eval_batch_size": 8}
    optim = {"optim.lr": 0.02, "optim.warmup_steps": 10, "optim.head_lr_mult": 1.0}
    config = settings(faces, tmp_path, data | optim, max_steps=80, val_every=80, limit_val_batches=4)
    build_trainer(config, [RunLog(tmp_path)]).fit(build_module(config), build_data(config))
    rows = read_rows(tmp_path / "metrics.csv")
    losses = [row["train/loss"] for row in rows]
    # Three heads guessing among 19 classes lose 3 ln 19 = 8.83.
    assert sum(losses[:5]) / 5 > 8
    assert sum(losses[-10:]) / 10 < 6
    # One class everywhere gives at most its share of the pixels, under a half, divided by 19: 0.026.
    assert rows[-1]["val/miou"] > 2 * 0.026
    assert rows[-1]["val/pixel_accuracy"] > 0.5

"""A real offline W&B run, its file read back."""

import json
import os
import shutil
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from helpers.wandb_files import read_run
from omegaconf import OmegaConf
from runs import settings

from facekp.classes import CELEBAMASK_HQ
from facekp.compare.callback import CompareSweep
from facekp.config import Config, DataConfig, LoggerConfig
from facekp.training.callbacks import MaskPictures
from facekp.training.folder import Resume
from facekp.training.loggers import build_loggers, build_wandb, closing_wandb
from facekp.training.run import build_data, build_module, build_trainer

wandb = pytest.importorskip("wandb")
wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")


@pytest.fixture(scope="module")
def run(tiny_root, tmp_path_factory):
    """Train for four steps with the default logger where there is no key, and return what it wrote."""
    folder = tmp_path_factory.mktemp("wandb-run")
    wanted = {"logger": {"name": "wandb", "group": "a-sweep", "run_name": "a-job", "images": 2}}
    config = settings(tiny_root, folder, wanted, max_steps=4, val_every=2)
    with pytest.MonkeyPatch.context() as patch, closing_wandb(config.logger):
        forget_account(patch, folder)
        loggers = build_loggers(config, None)
        build_trainer(config, loggers).fit(build_module(config), build_data(config))
        loggers[-1].log_checkpoint(folder / "checkpoints" / "best.ckpt", {"miou": 0.5})
    return written(folder)


def written(folder):
    """Return what the only run in a folder wrote."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    # W&B's own process writes the file, and may not be at its end yet.
    for _ in range(100):
        if any(record.HasField("exit") for record in read_run(file)):
            break
        time.sleep(0.1)
    return read_run(file)


def history(run):
    """Return what was logged at each step; nested values with the rest of their key."""
    rows = []
    for record in (record for record in run if record.HasField("history")):
        row = {}
        for item in record.history.item:
            first, *inner = [item.key] if item.key else item.nested_key
            place, key = (row.setdefault(first, {}), ".".join(inner)) if inner else (row, first)
            place[key] = json.loads(item.value_json)
        rows.append(row)
    return rows


@pytest.mark.slow
def test_run_is_named_grouped_and_configured(run):
    started = next(record.run for record in run if record.HasField("run"))
    assert (started.project, started.run_group, started.display_name) == ("facekp", "a-sweep", "a-job")
    config = {}
    for record in run:
        updates = record.run.config.update if record.HasField("run") else record.config.update
        config |= {u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in updates}
    assert config["model"] == {"name": "toy", "pretrained": False}
    assert (config["data"]["crop"], config["optim"]["lr"], config["seed"]) == (64, 0.01, 0)
    # Nothing twice: Lightning would add the module's own arguments.
    assert set(config) - {"_wandb"} == {field.name for field in fields(Config)}


@pytest.mark.slow
def test_the_best_checkpoint_is_a_model_artifact(run):
    (artifact,) = (record.artifact for record in run if record.HasField("artifact") and record.artifact.type == "model")
    assert artifact.name.startswith("model-")
    assert "best" in artifact.aliases
    assert json.loads(artifact.metadata) == {"miou": 0.5}
    assert [entry.path for entry in artifact.manifest.contents] == ["best.ckpt"]


@pytest.mark.slow
def test_curves_cover_every_logged_step(run):
    rows = history(run)
    steps = [row["trainer/global_step"] for row in rows if "train/loss" in row]
    assert steps == [0, 1, 2, 3]
    for key in ("train/loss_8", "train/loss_16", "train/loss_32", "lr", "train/images_per_second"):
        assert sum(key in row for row in rows) == 4, key
    for key in ("val/loss", "val/miou", "val/mean_f1", "val/pixel_accuracy", "val/iou/nose", "val/f1/hair"):
        assert sum(key in row for row in rows) == 2, key


@pytest.mark.slow
def test_images_carry_both_masks_with_class_names_and_the_table_has_every_class(run):
    (first, _) = [row for row in history(run) if "val/images" in row]
    images = first["val/images"]
    assert (images["count"], images["width"], images["height"]) == (2, 64, 64)
    assert all(set(masks) == {"truth", "prediction"} for masks in images["all_masks"])
    table = first["val/classes_table"]
    assert (table["nrows"], table["ncols"]) == (len(CELEBAMASK_HQ), 3)


@pytest.mark.slow
def test_best_values_are_summarised_in_the_right_direction(run):
    defined = {r.metric.name: r.metric.summary for r in run if r.HasField("metric") and r.metric.name}
    best = {name: (summary.min, summary.max, summary.last) for name, summary in defined.items()}
    lowest, highest = (True, False, True), (False, True, True)
    assert {name: best[name] for name in ("train/loss", "val/loss")} == {"train/loss": lowest, "val/loss": lowest}
    scores = ["val/miou", "val/mean_f1", "val/pixel_accuracy"]
    scores += [f"val/{kind}/{name}" for kind in ("iou", "f1") for name in CELEBAMASK_HQ.names]
    assert {name: best[name] for name in scores} == dict.fromkeys(scores, highest)


@pytest.mark.usefixtures("no_account", "undrawn")
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.slow
def test_the_comparison_of_a_sweep_is_a_run_of_its_own(asked, straight, tmp_path):
    sweep = tmp_path / "a-sweep"
    for i in range(2):
        shutil.copytree(straight, sweep / f"{i}-resnet18")
        (sweep / f"{i}-resnet18" / ".hydra").mkdir(exist_ok=True)
        logger = {"name": "wandb", "project": "mine", "offline": True, "log_comparison": asked}
        OmegaConf.save({"logger": logger}, sweep / f"{i}-resnet18" / ".hydra" / "config.yaml")
    callback, config = CompareSweep(), OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}})
    callback.on_multirun_start(config)
    callback.on_multirun_end(config)
    assert (sweep / "comparison.html").is_file()
    assert (sweep / "wandb").exists() == asked
    if asked:
        run = written(sweep)
        started = next(record.run for record in run if record.HasField("run"))
        assert (started.project, started.run_group, started.job_type) == ("mine", "a-sweep", "comparison")
        (row,) = (row for row in history(run) if "comparison" in row)
        assert row["comparison"]["nrows"] == 2
        pages = [r.artifact for r in run if r.HasField("artifact") and r.artifact.type == "comparison"]
        assert [[entry.path for entry in page.manifest.contents] for page in pages] == [["comparison.html"]]
        assert wandb.run is None


def logging_only(folder, **logger):
    """Return settings of which only the logger's are used."""
    data = DataConfig(source="synthetic")  # its classes are known without reading it
    return Config(data=data, model={"name": "resnet18"}, logger=LoggerConfig(**logger), output_dir=str(folder))


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    forget_account(monkeypatch, tmp_path)


def forget_account(patch, folder):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        patch.delenv(name, raising=False)
    patch.setenv("NETRC", str(folder / "no-netrc"))


def refused(*_, **__):
    raise wandb.errors.CommError("entity nobody not found\n(a second line)")


@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize(
    ("fault", "reason"), [(None, "no API key"), ("login", "entity nobody"), ("init", "entity nobody")]
)
def test_a_fault_is_one_line_on_how_to_sync_and_the_run_is_offline(fault, reason, monkeypatch, capsys, tmp_path):
    start = wandb.init
    if fault == "login":
        monkeypatch.setattr("wandb.login", refused)
    if fault == "init":
        monkeypatch.setattr("wandb.login", lambda **_: True)
        online = lambda **settings: settings["settings"].mode == "online"  # noqa: E731
        monkeypatch.setattr("wandb.init", lambda **s: refused() if online(**s) else start(**s))
    config = logging_only(tmp_path)
    with closing_wandb(config.logger):
        build_wandb(config, None)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"W&B: {reason}")
    assert ", so this run is logged offline; send it later with: " in line
    assert line.endswith(f"wandb sync {tmp_path}/wandb/offline-run-*")
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 1
    assert "WANDB_MODE" not in os.environ  # it would send the next job of a sweep offline without a word


def test_a_run_that_fails_is_closed_as_failed(monkeypatch, tmp_path):
    statuses = []
    monkeypatch.setattr("wandb.finish", lambda exit_code=0: statuses.append(exit_code))
    with closing_wandb(logging_only(tmp_path).logger):
        pass
    with pytest.raises(ZeroDivisionError), closing_wandb(logging_only(tmp_path).logger):
        raise ZeroDivisionError
    assert statuses == [0, 1]


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
def test_a_resumed_run_keeps_its_id(tmp_path):
    first, second = (logging_only(tmp_path / name, offline=True) for name in ("first", "second"))
    for config in (first, second):
        Path(config.output_dir).mkdir()
    with closing_wandb(first.logger):
        name = build_wandb(first, None).experiment.id
    with closing_wandb(second.logger):
        assert build_wandb(second, Resume(tmp_path / "first/checkpoints/last.ckpt", 5)).experiment.id == name


@pytest.mark.usefixtures("no_account")
def test_disabled_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    config = logging_only(tmp_path)
    with closing_wandb(config.logger):
        build_wandb(config, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize("home", ["a file", "full"])
def test_where_home_cannot_be_written_wandb_writes_below_the_run_folder(home, monkeypatch, tmp_path):
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / ("home" if home == "a file" else "")))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    if home == "full":
        monkeypatch.setattr("facekp.training.loggers.tempfile.TemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: SIM115
    config = logging_only(tmp_path / "run", offline=True)
    Path(config.output_dir).mkdir()
    with closing_wandb(config.logger):
        experiment = build_wandb(config, None).experiment
        experiment.log({"table": wandb.Table(columns=["class"], data=[["nose"]])})
    assert list(tmp_path.glob("run/wandb/data/artifacts/staging/*"))
    assert "WANDB_DATA_DIR" not in os.environ  # the next job of a sweep has a folder of its own


def test_what_wandb_raises_is_said_once_and_ends_no_run(tiny_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    config = settings(tiny_root, tmp_path, {"logger": {"name": "wandb"}}, max_steps=2, val_every=1)

    with closing_wandb(config.logger):
        loggers = build_loggers(config, None)
        trainer = build_trainer(config, loggers)
        with mock.patch.object(type(loggers[1].experiment), "log", side_effect=OSError(28, "No space left on device")):
            trainer.fit(build_module(config), build_data(config))
    assert trainer.global_step == 2
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("W&B")]
    assert said == ["W&B: cannot log ([Errno 28] No space left on device); training goes on"]


def test_a_wandb_that_cannot_start_at_all_ends_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("wandb.init", refused)
    assert len(build_loggers(logging_only(tmp_path, offline=True), None)) == 1
    assert capsys.readouterr().err == "W&B: cannot log (entity nobody not found); training goes on\n"


def test_checkpoints_are_written_before_pictures_are_sent(tmp_path):
    config = settings(tmp_path, tmp_path, {"logger": {"name": "wandb"}})
    names = [type(callback).__name__ for callback in build_trainer(config, []).callbacks]
    assert names[-3:] == ["BestCheckpoint", "ModelCheckpoint", "MaskPictures"]


def test_pictures_for_a_wandb_that_is_absent_are_dropped(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    trainer = SimpleNamespace(loggers=[], callback_metrics={}, global_step=1)
    MaskPictures(1).on_validation_end(trainer, SimpleNamespace(classes=CELEBAMASK_HQ))

"""A real offline W&B run, its file read back."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2

from facekp.attributes import ATTRIBUTES
from facekp.config import CallbacksConfig, Config, DataConfig, LoggerConfig, TrainerConfig
from facekp.loggers import build_loggers, finish_wandb, wandb_is_offline
from facekp.training import build_data, build_module, build_trainer

HEADER, BLOCK = 7, 32768


def records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Read a .wandb file: LevelDB's log format (blocks of 32 KiB, chunks with crc, length and type) after 7 bytes."""
    content, at, parts = path.read_bytes(), HEADER, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # the rest of a block that no chunk header fits in
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or last chunk
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


@pytest.fixture(scope="module")
def run(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[wandb_internal_pb2.Record]:
    """Train for four steps with the default logger where there is no key, and return what it wrote."""
    folder = tmp_path_factory.mktemp("wandb-run")
    config = Config(
        data=DataConfig(root=str(tiny_root), size=64, crop=64, batch_size=4, workers=0),
        model={"name": "resnet18", "pretrained": False},
        trainer=TrainerConfig(accelerator="cpu", devices=1, precision="32-true", max_steps=4, val_every=2, log_every=1),
        logger=LoggerConfig(name="wandb", group="a-sweep", run_name="a-job", images=2),
        callbacks=CallbacksConfig(progress=False),
        output_dir=str(folder),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.setenv("NETRC", str(folder / "no-netrc"))
        _, loggers = build_loggers(config, None)
        try:
            build_trainer(config, loggers).fit(build_module(config), build_data(config))
        finally:
            finish_wandb(config)
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return list(records(file))


def history(run: list[wandb_internal_pb2.Record]) -> list[dict[str, object]]:
    rows = []
    for record in run:
        if record.HasField("history"):
            row: dict[str, object] = {}
            for item in record.history.item:
                first, *inner = [item.key] if item.key else item.nested_key
                if inner:
                    row.setdefault(first, {})[".".join(inner)] = json.loads(item.value_json)
                else:
                    row[first] = json.loads(item.value_json)
            rows.append(row)
    return rows


def test_run_is_named_grouped_and_configured(run: list[wandb_internal_pb2.Record]) -> None:
    started = next(record.run for record in run if record.HasField("run"))
    assert (started.project, started.run_group, started.display_name) == ("facekp", "a-sweep", "a-job")
    config = {}
    for record in run:
        updates = record.run.config.update if record.HasField("run") else record.config.update
        config |= {u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in updates}
    assert config["model"] == {"name": "resnet18", "pretrained": False}
    assert config["data"]["crop"] == 64
    assert config["optim"]["lr"] == 0.01
    assert config["seed"] == 0


def test_curves_cover_every_logged_step(run: list[wandb_internal_pb2.Record]) -> None:
    rows = history(run)
    steps = [row["trainer/global_step"] for row in rows if "train/loss" in row]
    assert steps == [0, 1, 2, 3]
    for key in ("train/loss_8", "train/loss_16", "train/loss_32", "lr", "train/images_per_second"):
        assert sum(key in row for row in rows) == 4, key
    for key in ("val/loss", "val/miou", "val/mean_f1", "val/pixel_accuracy", "val/iou/nose", "val/f1/hair"):
        assert sum(key in row for row in rows) == 2, key


def test_images_carry_both_masks_with_class_names_and_the_table_has_every_class(
    run: list[wandb_internal_pb2.Record],
) -> None:
    (first, _) = [row for row in history(run) if "val/images" in row]
    images = first["val/images"]
    assert images["count"] == 2
    assert (images["width"], images["height"]) == (64, 64)
    assert all(set(masks) == {"truth", "prediction"} for masks in images["all_masks"])
    table = first["val/classes_table"]
    assert (table["nrows"], table["ncols"]) == (len(ATTRIBUTES), 3)


def test_best_values_are_summarised_in_the_right_direction(run: list[wandb_internal_pb2.Record]) -> None:
    defined = {r.metric.name: r.metric.summary for r in run if r.HasField("metric") and r.metric.name}
    assert defined["val/loss"].min
    assert not defined["val/loss"].max
    assert defined["val/miou"].max
    assert not defined["val/miou"].min


def test_without_a_key_one_line_says_so_and_how_to_sync(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    assert wandb_is_offline(LoggerConfig(), "runs/x")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("W&B: no API key")
    assert line.endswith("wandb sync runs/x/wandb/offline-run-*")

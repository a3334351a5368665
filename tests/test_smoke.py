"""A short training run on faces, real ones where there are any: it must learn more than chance gives."""

from pathlib import Path

import pytest

from facekp.config import CallbacksConfig, Config, DataConfig, LoggerConfig, OptimConfig, TrainerConfig
from facekp.data.sources import prepared_root
from facekp.training.history import RunLog, read_rows
from facekp.training.run import build_data, build_module, build_trainer

STEPS = 100


@pytest.fixture(scope="module")
def faces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the real faces, or else synthetic ones."""
    try:
        return request.getfixturevalue("real_root")
    except pytest.skip.Exception:
        cache = tmp_path_factory.mktemp("synthetic")
        counts = {"synthetic_train": 64, "synthetic_val": 32, "synthetic_test": 1}
        return prepared_root(DataConfig(source="synthetic", cache=str(cache), size=96, **counts))


@pytest.mark.slow
def test_a_short_run_learns(faces: Path, tmp_path: Path) -> None:
    config = Config(
        data=DataConfig(
            root=str(faces), size=96, crop=64, scales=[0.75, 1], batch_size=8, eval_batch_size=8, workers=0
        ),
        model={"name": "resnet18", "pretrained": False},
        optim=OptimConfig(lr=0.02, warmup_steps=10, head_lr_mult=1.0),
        trainer=TrainerConfig(
            accelerator="cpu",
            devices=1,
            precision="32-true",
            max_steps=STEPS,
            val_every=STEPS,
            log_every=1,
            limit_val_batches=4,
        ),
        logger=LoggerConfig(name="csv"),
        callbacks=CallbacksConfig(progress=False),
        output_dir=str(tmp_path),
    )
    log = RunLog(tmp_path)
    build_trainer(config, [log]).fit(build_module(config), build_data(config))
    rows = read_rows(tmp_path / "metrics.csv")
    losses = [row["train/loss"] for row in rows]
    # Three heads guessing among 19 classes lose 3 ln 19 = 8.83.
    assert sum(losses[:5]) / 5 > 8
    assert sum(losses[-10:]) / 10 < 6
    # One class everywhere gives at most its share of the pixels, under a half, divided by 19: 0.026.
    assert rows[-1]["val/miou"] > 2 * 0.026
    assert rows[-1]["val/pixel_accuracy"] > 0.5

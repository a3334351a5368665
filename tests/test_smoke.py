"""A short training run on faces, real ones where there are any: it must learn more than chance gives."""

import pytest
from runs import settings

from facekp.config import DataConfig
from facekp.data.sources import prepared_root
from facekp.training.history import RunLog
from facekp.training.rows import read_rows
from facekp.training.run import build_data, build_module, build_trainer


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

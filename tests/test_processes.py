"""`train.py` in two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import REPOSITORY, SMALL

from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.training.history import read_rows
from facekp.training.scoring import network_scorer
from facekp.weights.load import load_network


@pytest.mark.slow
def test_one_reports_and_scores_are_those_of_the_checkpoint_in_one_process(tiny_root: Path, tmp_path: Path) -> None:
    # The three validation images do not share out evenly.
    two = ["trainer=ddp", "trainer.devices=2", "trainer.max_steps=3", "data.eval_batch_size=1", "hydra.run.dir=run"]
    command = [sys.executable, REPOSITORY / "train.py", *SMALL, "logger=csv", f"data.root={tiny_root}", *two]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder: ") == 1
    assert "sync_dist" not in done.stderr  # Lightning's advice, a line a score, which does not hold here
    run = tmp_path / "run"
    assert [row["step"] for row in read_rows(run / "metrics.csv")] == [1, 2, 3]
    summary = json.loads((run / "metrics.json").read_text())
    assert summary["steps"] == 3
    for split, name, written in (("val", "last", summary["val"]["last"]), ("test", "best", summary["test"])):
        net, about = load_network(run / "checkpoints" / f"{name}.ckpt")
        config = DataConfig(root=str(tiny_root), size=about["size"], workers=0, eval_batch_size=1)
        loader = FaceDataModule(config, seed=0, total_steps=0).evaluation_loader(split)
        scores = network_scorer(net, about, torch.device("cpu"))(loader)
        for key in ("loss", "miou", "mean_f1", "pixel_accuracy"):
            assert written[key] == pytest.approx(scores[key], rel=1e-4), (split, key)
        assert written["classes"] == scores["classes"]

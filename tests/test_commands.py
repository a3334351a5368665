"""The commands as a user runs them: exit status, one line on stderr, nothing left behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import REPOSITORY
from torch.utils.data import DataLoader

from facekp.data.dataset import FaceDataset, to_batch
from facekp.data.layout import read_index
from facekp.data.normalisation import normalise
from facekp.data.sampler import EvaluationOrder
from facekp.data.transforms import evaluation_transform
from facekp.errors import ConfigError
from facekp.evaluate import main as evaluate_main
from facekp.losses.ohem import OhemCrossEntropy
from facekp.models import build_model, fuse
from facekp.training.scoring import network_scorer


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("others", [False, True])
def test_a_damaged_image_ends_training_in_one_line_that_names_it(tiny_root: Path, tmp_path: Path, others: bool) -> None:
    # It is found by a loader process, whose traceback stands before the message.
    if others:  # the folder holds what is not Hydra's, such as a logger's files
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "notes.txt").touch()
    faces = tmp_path / "faces"
    shutil.copytree(tiny_root, faces)
    for image in (faces / "images").iterdir():
        image.write_bytes(image.read_bytes()[:500])
    settings = [f"data.root={faces}", "data.size=64", "data.crop=64", "data.batch_size=2", "data.workers=1"]
    done = run("train.py", "logger=none", "callbacks.progress=false", f"hydra.run.dir={tmp_path}/run", *settings)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    assert f"image {faces}/images/000" in line
    assert "cannot be read" in line
    assert (tmp_path / "run").exists() is others
    if others:
        assert (tmp_path / "run" / "error.txt").read_text() == f"{line.removeprefix('error: ')}\n"
        assert yaml.safe_load((tmp_path / "run" / ".hydra" / "config.yaml").read_text())["data"]["root"] == str(faces)


def test_evaluate_scores_as_computed_one_image_at_a_time(checkpoint: Path, tiny_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    arguments = [f"ckpt={checkpoint}", f"data.root={tiny_root}", "split=val", f"out={out}", "data.workers=0"]
    done = run("-m", "facekp.evaluate", *arguments, "device=cpu")
    assert done.returncode == 0, done.stderr
    written = json.loads(out.read_text())

    net = build_model("resnet18").eval()
    content = torch.load(checkpoint, weights_only=True)["state_dict"]
    net.load_state_dict({name.removeprefix("net."): value for name, value in content.items()})
    hits, either = np.zeros(19), np.zeros(19)
    dataset = FaceDataset(read_index(tiny_root)["val"], evaluation_transform(64))
    for i in range(len(dataset)):
        sample = dataset[(i, 0)]
        with torch.inference_mode():
            guess = fuse(net(normalise(sample["image"][None])).predict, (64, 64)).argmax(1)[0].numpy()
        truth = sample["label"].numpy()
        for c in range(19):
            hits[c] += np.sum((guess == c) & (truth == c))
            either[c] += np.sum((guess == c) | (truth == c))
    iou = [h / e for h, e in zip(hits, either, strict=True) if e]
    assert written["miou"] == pytest.approx(np.mean(iou), abs=1e-5)
    assert written["iou"]["skin"] == pytest.approx(hits[1] / either[1], abs=1e-5)
    assert written["classes"] == len(iou)
    assert set(written) >= {"loss", "miou", "mean_f1", "pixel_accuracy", "iou", "f1"}


def test_evaluate_leaves_a_runs_own_summary_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=r"out is '.*metrics\.json': this is a run folder, .*: give another"):
        evaluate_main([f"ckpt={checkpoint}", "device=cpu", f"out={tmp_path / 'metrics.json'}"])


def test_loss_of_an_evaluation_is_weighted_by_images(tiny_root: Path) -> None:
    torch.manual_seed(1)
    net = build_model("resnet18").eval()
    dataset = FaceDataset(read_index(tiny_root)["val"], evaluation_transform(64))

    pixels = list(DataLoader(dataset, 2, sampler=EvaluationOrder(dataset)))  # three images: two and one
    batches = [to_batch(p) for p in pixels]
    with torch.inference_mode():
        two, one = (sum(OhemCrossEntropy()(s, b["label"]).item() for s in net(b["image"]).maps) for b in batches)
    scores = network_scorer(net, {"size": 64}, torch.device("cpu"))(pixels)
    assert scores["loss"] == pytest.approx((2 * two + one) / 3, rel=1e-5)
    assert scores["loss"] != pytest.approx((two + one) / 2, rel=1e-5)

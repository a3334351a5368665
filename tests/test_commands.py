"""The commands as a user runs them: exit status, one line on stderr, nothing left behind."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from facekp.data.dataset import FaceDataset
from facekp.data.layout import read_index
from facekp.data.normalisation import normalise
from facekp.data.transforms import evaluation_transform
from facekp.errors import CheckpointError, ConfigError, DataError
from facekp.evaluate import main
from facekp.export.__main__ import main as export
from facekp.export.release import main as release
from facekp.models import build_model, fuse


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.slow
def test_a_damaged_image_ends_training_in_one_line_that_names_it(train_py, tiny_root, tmp_path, capfd, others):
    # It is found by a loader process, whose traceback stands before the message.
    run, faces = tmp_path / "run", tmp_path / "faces"
    if others:  # the folder holds what is not Hydra's, such as a logger's files
        run.mkdir()
        (run / "notes.txt").touch()
    shutil.copytree(tiny_root, faces)
    for image in (faces / "images").iterdir():
        image.write_bytes(image.read_bytes()[:500])
    train_py("logger=none", f"hydra.run.dir={run}", f"data.root={faces}", "data.workers=1", cwd=tmp_path, ends=2)
    said = capfd.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in said
    assert f"image {faces}/images/000" in line
    assert "cannot be read" in line
    assert run.exists() is others
    if others:
        assert (run / "error.txt").read_text() == f"{line.removeprefix('error: ')}\n"
        assert yaml.safe_load((run / ".hydra" / "config.yaml").read_text())["data"]["root"] == str(faces)


@pytest.mark.slow
def test_evaluate_scores_as_computed_one_image_at_a_time(checkpoint, tiny_root, tmp_path):
    out = tmp_path / "scores.json"
    arguments = [f"ckpt={checkpoint}", f"data.root={tiny_root}", "split=val", f"out={out}", "data.workers=0"]
    for _ in range(2):  # its own file is replaced
        main([*arguments, "device=cpu"])
    written = json.loads(out.read_text())
    out.write_text(json.dumps({"loss": 1}, indent=2))
    with pytest.raises(DataError, match=r"scores.json': would be replaced, but this command did not write it"):
        main([f"ckpt={checkpoint}", f"out={out}"])

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


@pytest.mark.parametrize(
    ("command", "arguments"), [(main, []), (export, ["precision=int8"]), (release, ["out=a.safetensors"])]
)
def test_a_missing_data_set_is_named_before_any_weights_are_read(command, arguments, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("facekp.weights.load.load_network", lambda *args: pytest.fail("loaded"))
    with pytest.raises(DataError, match=r"^data.root is 'nowhere', which is not a folder"):
        command([f"ckpt={checkpoint}", "data.root=nowhere", *arguments])
    said = r"checkpoint '.*': a folder without .*; .* give its checkpoints/best.ckpt$"
    with pytest.raises(CheckpointError, match=said):
        command([f"ckpt={checkpoint.parents[1]}", "data.root=nowhere", *arguments])
    assert not list(tmp_path.iterdir())


def test_evaluate_leaves_a_runs_own_summary_alone(checkpoint, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=r"out is '.*metrics\.json': a run's own summary has this name: use another"):
        main([f"ckpt={checkpoint}", "device=cpu", f"out={tmp_path / 'metrics.json'}"])

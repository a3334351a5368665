"""The commands as a user runs them: exit status, one line on stderr, nothing left behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from conftest import REPOSITORY
from PIL import Image
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
from facekp.parsing.parser import FaceParser
from facekp.predict.multi_device import _Share
from facekp.predict.pipeline import Job
from facekp.predict.sources import PredictConfig
from facekp.training.scoring import network_scorer
from facekp.weights.checkpoint import KEY, describe


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of a network with random weights, as training would."""
    torch.manual_seed(1)
    net = build_model("resnet18")
    path = tmp_path_factory.mktemp("ckpt") / "best.ckpt"
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({KEY: describe({"name": "resnet18", "pretrained": False}, 64), "state_dict": weights}, path)
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )


def test_predict_writes_every_photo_and_reports_the_broken_one(checkpoint: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "good.jpg")
    (photos / "truncated.jpg").write_bytes((photos / "good.jpg").read_bytes()[:600])
    settings = ("keypoints.n=7", "device=cpu", "align=none")
    done = run("predict.py", f"ckpt={checkpoint}", f"source={photos}", f"out={out}", *settings)
    assert done.returncode == 1
    assert "truncated.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["good.json", "good.mask.png", "good.overlay.jpg"]
    content = json.loads((out / "good.json").read_text())
    assert (content["width"], content["height"]) == (100, 80)
    assert {len(a["keypoints"]) for a in content["faces"][0]["attributes"]} == {7}


def test_results_beside_the_photos_are_not_parsed(checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    for _ in range(2):
        done = run("predict.py", f"ckpt={checkpoint}", f"source={tmp_path}", f"out={tmp_path}", "device=cpu")
        assert done.returncode == 0, done.stderr
        assert "1 of 1 parsed" in done.stdout


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ckpt=CKPT", "source=nowhere.jpg", "out=OUT"], ["source 'nowhere.jpg'", "no such file"]),
        (["ckpt=README.md", "source=PHOTO", "out=OUT"], ["checkpoint 'README.md'", "train.py wrote"]),
        (["ckpt=CKPT", "source=PHOTO", "out=README.md/out"], ["'README.md/out'", "give another folder"]),
        (["ckpt=CKPT", "source=PHOTO"], ["out is not set"]),
        (["ckpt=CKPT", "source=PHOTO", "out=OUT", "keypoint.n=3"], ["keypoint.n", "keypoints.n"]),
    ],
)
def test_predict_refuses_in_one_line_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(photo)
    places = {"CKPT": str(checkpoint), "PHOTO": str(photo), "OUT": str(tmp_path / "out")}
    filled = [key + "=" + places.get(value, value) for key, value in (a.split("=", 1) for a in arguments)]
    done = run("predict.py", *filled)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert not (tmp_path / "out").exists()


def test_two_processes_parse_every_photo_once_and_as_one_does(checkpoint: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.png")
    for i in "ab":  # one for either process
        (photos / f"{i}.jpg").write_bytes(b"no picture")
    for out, devices in (("one", 1), ("two", 2)):
        arguments = (f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / out}", f"devices={devices}")
        arguments += ("export=[mask,overlay,json,svg,labelme,coco,csv]", "align=none")
        done = run("predict.py", *arguments, "device=cpu")
        assert done.returncode == 1, done.stderr
        assert done.stdout.count("5 of 7 parsed") == 1
        assert "error: 2 skipped" in done.stderr
    names = sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*.*"))
    assert len(names) == 5 * 5 + 2
    assert sorted(str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*.*")) == names
    assert len(json.loads((tmp_path / "one" / "annotations.json").read_text())["images"]) == 5
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_single_photo_needs_no_second_process(checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    done = run("predict.py", f"ckpt={checkpoint}", f"source={tmp_path / 'a.png'}", f"out={out}", "devices=2")
    assert done.returncode == 0, done.stderr
    assert (out / "a.json").is_file()


def test_processes_share_the_photos_out() -> None:
    jobs = [Job(Path(str(i)), str(i), Path(str(i))) for i in range(7)]
    shares = []
    for rank in range(3):
        share = _Share(PredictConfig(ckpt="x", source="x", out="x"), jobs)
        share.parser = SimpleNamespace(backend=SimpleNamespace(batch=2))
        share._trainer = SimpleNamespace(global_rank=rank, world_size=3)
        shares.append([job.path.name for job in share.predict_dataloader().dataset.jobs])
    assert shares == [["0", "3", "6"], ["1", "4"], ["2", "5"]]


def test_each_process_parses_on_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # Lightning moves a module only after its setup: there `self.device` is the CPU still.
    given: list[str] = []
    monkeypatch.setattr(FaceParser, "from_checkpoint", lambda ckpt, *, device, **_: given.append(device))
    share = _Share(PredictConfig(ckpt="x", source="x", out="x"), [])
    share._trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda", 1)))
    share.setup("predict")
    assert given == ["cuda:1"]


def test_an_exported_network_is_scored_and_predicts_like_its_checkpoint(
    checkpoint: Path, tiny_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    for precision in ("float32", "int8"):
        settings = () if precision == "float32" else (f"data.root={tiny_root}", "images=2")
        out = tmp_path / f"{precision}.onnx"
        done = run("-m", "facekp.export", f"ckpt={checkpoint}", f"precision={precision}", f"out={out}", *settings)
        assert done.returncode == 0, done.stderr
        assert f"{precision}, for images of 64 pixels" in done.stdout
    scores = {}
    for ckpt in (checkpoint, tmp_path / "float32.onnx"):
        out = tmp_path / f"{ckpt.suffix}.json"
        arguments = [f"ckpt={ckpt}", f"data.root={tiny_root}", "split=val", f"out={out}", "data.workers=0"]
        done = run("-m", "facekp.evaluate", *arguments, "device=cpu")
        assert done.returncode == 0, done.stderr
        scores[ckpt.suffix] = json.loads(out.read_text())
    for name in ("loss", "miou", "mean_f1", "pixel_accuracy"):
        assert scores[".onnx"][name] == pytest.approx(scores[".ckpt"][name], abs=2e-4), name
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    arguments = [f"source={tmp_path / 'photo.png'}", f"out={tmp_path / 'out'}"]
    done = run("predict.py", f"ckpt={tmp_path / 'int8.onnx'}", *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "photo.mask.png").is_file()


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

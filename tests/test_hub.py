"""Model folders as on the Hugging Face Hub: what is written, what is read, and the hub's own offline mode."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from helpers.shapes import BrightIsNose
from safetensors.numpy import load_file

from facekp import FaceParser
from facekp.classes import Classes
from facekp.errors import CheckpointError, ConfigError, DataError
from facekp.weights.checkpoint import describe
from facekp.weights.hub import model_card
from facekp.weights.paths import WEIGHTS

FILES = {"model.safetensors", "config.json", "README.md"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the shipped weights."""
    folder = tmp_path_factory.mktemp("hub") / "mine"
    FaceParser(detector="haar").save_pretrained(folder)
    return folder


def test_a_folder_holds_the_weights_and_gives_them_back(folder):
    assert {path.name for path in folder.iterdir()} == FILES
    ours, theirs = load_file(folder / "model.safetensors"), load_file(WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    parser = FaceParser.from_pretrained(folder, device="cpu", detector="haar")
    assert parser.stages.backend.size == 512
    parser.save_pretrained(folder)  # its own files are replaced
    (folder / "README.md").write_text("# Mine\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"README\.md': would be replaced"):
        parser.save_pretrained(folder)
    parser.save_pretrained(folder, overwrite=True)


def test_the_model_card_has_the_metadata_of_the_hub(folder):
    _, metadata, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(metadata)
    assert (about["library_name"], about["license"], about["datasets"]) == ("facekp", "other", ["CelebAMask-HQ"])
    (result,) = about["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "mean_iou", "value": 0.7731}
    assert "for non-commercial research and education only" in text
    assert "| hair " in text
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.eval_results[0].metric_value == 0.7731


BEARD = Classes.of(["background", "skin", "beard"])
SCORES = {
    "split": "val", "images": 2, "size": 64, "miou": 0.5, "mean_f1": 0.6, "pixel_accuracy": 0.7,
    "iou": {"background": 0.75, "skin": 0.5, "beard": 0.25}, "f1": {"background": 0.8, "skin": 0.7, "beard": None},
}  # fmt: skip


def test_the_model_card_says_what_the_weights_say_of_themselves():
    described = describe({"name": "fpn"}, 64, classes=BEARD)
    _, metadata, text = model_card(described | {"scores": SCORES}).split("---\n", 2)
    about = yaml.safe_load(metadata)
    assert about["license"] == "unknown"
    assert not {"license_name", "datasets", "model-index"} & about.keys()
    assert "## Classes\n\nbackground, skin, beard.\n" in text  # no sides, which nothing is said of
    assert "## Terms\n\nThe weights state none: those of the data that they were trained on apply.\n" in text
    assert re.search(r"\| beard +\| 0\.250 \| absent +\|", text)
    assert "CelebAMask" not in metadata + text

    own = described | {"scores": SCORES, "terms": "Mine: ask me.", "dataset": "Beards of Ghent"}
    _, metadata, text = model_card(own).split("---\n", 2)
    about = yaml.safe_load(metadata)
    assert (about["license"], about["datasets"]) == ("other", ["Beards of Ghent"])
    (result,) = about["model-index"][0]["results"]
    assert result["dataset"] == {"name": "Beards of Ghent", "type": "Beards of Ghent", "split": "val"}
    assert "It was trained on Beards of Ghent.\n" in text
    assert "## Terms\n\nMine: ask me.\n" in text

    text = model_card(describe({"name": "fpn"}, 64, classes=Classes.of(["background", "l_eye", "r_eye"])))
    assert "background, l_eye, r_eye. Left and right are the person's own.\n" in text


def test_a_model_of_the_hub_is_read_from_its_cache(folder, tmp_path):
    pytest.importorskip("huggingface_hub")
    cached, commit = tmp_path / "models--some--one", "0" * 40
    shutil.copytree(folder, cached / "snapshots" / commit)
    for name in ("main", "v1"):
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / name).write_text(commit, encoding="utf-8")
    offline = {"cache_dir": tmp_path, "local_files_only": True, "detector": "haar"}
    parser = FaceParser.from_pretrained("some/one", revision="v1", **offline)
    assert parser.checkpoint == cached / "snapshots" / commit
    with pytest.raises(CheckpointError, match=r"^model 'some/one': cannot be fetched \(.*\); check its name and the"):
        FaceParser.from_pretrained("some/one", revision="v2", **offline)
    with pytest.raises(CheckpointError, match=r"^model './none': no such folder, and no 'user/name' of the hub"):
        FaceParser.from_pretrained("./none", **offline)


def test_pushing_uploads_the_folder(folder, monkeypatch):
    hub, calls = pytest.importorskip("huggingface_hub"), []

    def create_repo(name, **options):
        calls.append((name, options))
        return f"https://huggingface.co/{name}"

    def upload_folder(**options):
        calls.append(({path.name for path in Path(str(options.pop("folder_path"))).iterdir()}, options))

    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(create_repo=create_repo, upload_folder=upload_folder))
    parser = FaceParser.from_pretrained(folder, detector="haar")
    assert parser.push_to_hub("me/it", private=True, token="t", revision="dev") == "https://huggingface.co/me/it"
    assert calls == [
        ("me/it", {"private": True, "exist_ok": True, "token": "t"}),
        (FILES, {"repo_id": "me/it", "token": "t", "revision": "dev"}),
    ]


def test_an_open_backend_cannot_be_saved(tmp_path):
    with pytest.raises(ConfigError, match=r"was given an open backend: open its file with FaceParser\.from_checkpoint"):
        FaceParser(BrightIsNose(), detector="haar").save_pretrained(tmp_path)

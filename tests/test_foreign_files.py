"""Files that facekp did not write stay as they are, whichever command would replace them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from runs import REPOSITORY, settings, train
from torch import nn

from facekp.errors import DataError
from facekp.export.release import main as release
from facekp.figures.__main__ import UNDATED
from facekp.figures.__main__ import main as figures
from facekp.files import begins_with, contains, keep_foreign
from facekp.formats.base import FormatOptions, Photo, all_formats
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import face_from_mask
from facekp.parsing.soft_mask import ClassScores
from facekp.predict.__main__ import main
from facekp.predict.results import Results
from facekp.weights.checkpoint import describe, write_weights, written_files

LABELME = {"version": "5.0.0", "flags": {}, "shapes": [], "imagePath": "IMG_1.jpg", "imageData": None}


def other_programs_files(folder):
    """Write files under every name that `predict.py` uses, as other programs write them."""
    Image.new("P", (64, 48)).save(folder / "IMG_1.mask.png")
    for form in ("region", "alpha", "cutout"):
        Image.new("L", (64, 48)).save(folder / f"IMG_1.nose.{form}.png")
    Image.new("RGB", (64, 48)).save(folder / "IMG_1.overlay.jpg")
    (folder / "labelme").mkdir()
    for name in ("IMG_1.json", "labelme/IMG_1.json"):
        (folder / name).write_text(json.dumps(LABELME, indent=2))
    xml = "<?xml version='1.0' encoding='utf-8'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>"
    (folder / "IMG_1.svg").write_text(xml)
    (folder / "annotations.json").write_text(json.dumps({"info": {"description": "mine"}, "images": []}))
    (folder / "keypoints.csv").write_text("id,x,y\n1,2,3\n")
    return {path: path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.slow
def test_predict_names_what_it_would_replace_and_writes_nothing(checkpoint, tmp_path, capsys):
    Image.open(REPOSITORY / "docs" / "astronaut.jpg").resize((64, 64)).save(tmp_path / "IMG_1.jpg")
    before = other_programs_files(tmp_path)
    formats = f"export=[{','.join(all_formats())}]"
    arguments = [f"ckpt={checkpoint}", f"source={tmp_path / 'IMG_1.jpg'}", f"out={tmp_path}", "align=none", formats]
    arguments.append("regions=[nose]")
    with pytest.raises(DataError) as refused:
        main(arguments)
    named = [name for name in map(str, before) if name in str(refused.value)]
    assert len(named) == 3
    assert " and 7 more: would be replaced, but this command did not write them" in str(refused.value)
    assert "overwrite=true" in str(refused.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert main([*arguments, "overwrite=true"]) == 0
    assert main(arguments) == 0  # its own, of which none is refused
    for name in ("IMG_1.json", "keypoints.csv", "IMG_1.mask.png"):
        assert (tmp_path / name).read_bytes() != before[tmp_path / name]
    assert "1 of 1 parsed" in capsys.readouterr().out


@pytest.mark.parametrize("name", all_formats())
def test_each_format_recognises_its_own_files_and_no_other_programs(name, tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    other_programs_files(theirs)
    mask = np.zeros((48, 64), np.uint8)
    mask[8:40, 8:40] = 1
    face = face_from_mask(mask, dict.fromkeys(range(19), 0.5), KeypointConfig(n=8))
    face = replace(face, scores=ClassScores(np.zeros((6, 8, 19), np.float32)))
    for folder, written in ((theirs, False), (ours, True)):
        results = Results(folder, [name], FormatOptions(regions=["nose"]))
        if written:
            with results.claimed():
                photo = Photo(Path("IMG_1.jpg"), "IMG_1.jpg", folder / "IMG_1", np.zeros((48, 64, 3), np.uint8))
                results.write(photo, [face])
                results.finish([photo.stem])
        ((path, recognise),) = results.files([folder / "IMG_1"]).items()
        assert path.is_file()
        assert recognise(path) is written


def test_a_labelme_file_that_was_corrected_by_hand_is_kept(tmp_path):
    form = all_formats()["labelme"]
    photo = Photo(Path("a.png"), "a.png", tmp_path / "a", np.zeros((48, 64, 3), np.uint8))
    content = form.encode(photo, [])
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert begins_with(form.mark)(path)
    # As LabelMe saves: its own keys, then those that it does not know.
    loaded = json.loads(content)
    unknown = {"generator": loaded.pop("generator")}
    path.write_text(json.dumps(loaded | unknown, indent=2))
    assert not begins_with(form.mark)(path)


def test_what_cannot_be_read_is_not_replaced(tmp_path):
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(tmp_path / "none")
    for path in (folder, link):
        with pytest.raises(DataError, match=f"'{path}': would be replaced"):
            keep_foreign({path: begins_with(b"facekp")})
    (tmp_path / "empty").touch()  # such as a command leaves that is killed while it opens the file
    absent = dict.fromkeys((tmp_path / "none", tmp_path / "empty"), begins_with(b"facekp"))
    keep_foreign({**absent, folder: lambda path: True})


def test_released_weights_are_told_by_their_description(tmp_path):
    weights = tmp_path / "net.safetensors"
    write_weights(nn.Linear(2, 2), describe({"name": "resnet18"}, 64), weights)
    keep_foreign(written_files(weights))
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"net.safetensors': would be replaced"):
        release([f"ckpt={weights}", f"out={weights}", "data.source=synthetic"])


@pytest.mark.parametrize("suffix", UNDATED)
def test_figures_are_told_by_their_metadata(suffix, tmp_path, checkpoint):
    path = tmp_path / f"photo.points.{suffix}"
    photo = REPOSITORY / "docs" / "astronaut.jpg"
    Figure().savefig(path, metadata=UNDATED[suffix])
    assert contains(b"facekp")(path)
    theirs = tmp_path / f"astronaut.points.{suffix}"
    Figure().savefig(theirs)
    with pytest.raises(DataError, match=rf"{theirs}': would be replaced"):
        figures([f"source={photo}", f"out={tmp_path}", f"format={suffix}", f"ckpt={checkpoint}"])


def test_training_keeps_another_programs_files(tiny_root, tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,accuracy\n1,0.5\n")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").write_bytes(b"theirs")
    with pytest.raises(DataError, match=r"metrics.csv', '.*best.ckpt': would be replaced, .*hydra.run.dir"):
        train(settings(tiny_root, tmp_path))
    assert (tmp_path / "metrics.csv").read_text() == "epoch,accuracy\n1,0.5\n"

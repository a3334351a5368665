"""Class sets: files good and bad, data sets with other classes, fine-tuning, and prediction."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.config import DataConfig, FacesConfig
from facekp.data.class_sets import LAPA, map_classes, read_classes
from facekp.data.datamodule import FaceDataModule
from facekp.data.layout import list_samples, require_classes
from facekp.data.prepare.__main__ import main as prepare
from facekp.data.prepare.sets.easyportrait import EASYPORTRAIT
from facekp.errors import CheckpointError, ConfigError, DataError
from facekp.evaluate import scored_as
from facekp.images import read_image, read_label
from facekp.keypoints.settings import KeypointConfig
from facekp.models import Heads, build_model
from facekp.parsing.alignment import require_parts
from facekp.parsing.face import face_from_mask
from facekp.training.metrics import Scorer
from facekp.weights.checkpoint import describe, read_weights, write_weights
from facekp.weights.load import begin_with, load_network

BEARD = {
    "ids": {"background": 0, "skin": 10, "l_eye": 20, "r_eye": 30, "beard": 255},
    "colours": {"beard": [90, 60, 30]},
    "parts": {"skin": ["skin", "beard"]},
}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def write_pair(image, mask, values, scale=32):
    """Write a grey image, and a mask with a block of pixels for each value."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    label = np.array(values, np.uint8).repeat(scale, 0).repeat(scale, 1)
    Image.fromarray(np.repeat(label[..., None] // 2 + 60, 3, 2)).save(image, quality=95)
    Image.fromarray(label).save(mask)


def test_the_default_is_celebamask_hq():
    assert len(CELEBAMASK_HQ) == 19
    assert [CELEBAMASK_HQ.index(name) for name in ("skin", "l_eye", "r_eye", "cloth")] == [1, 4, 5, 18]
    assert CELEBAMASK_HQ.to_plain() == list(CELEBAMASK_HQ.names)  # what older versions read and wrote
    assert Classes.from_plain(list(CELEBAMASK_HQ.names)) is CELEBAMASK_HQ
    for own in (Classes.from_plain(BEARD), LAPA, EASYPORTRAIT):  # any set survives JSON
        assert Classes.from_plain(json.loads(json.dumps(own.to_plain()))) == own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": {"background": 0, "nose": 3, "beard": 3}}, "nose and beard both have id 3"),
        ({"ids": {"background": 0, "nose": "3"}}, "the id of nose is '3': give an integer"),
        ({"ids": {"background": 0, "a+b": 3}}, r"a class is called 'a\+b'"),
        ({"ids": {"skin": 0, "nose": 3}}, "no class 'background' with the lowest id"),
        ({"ids": {"background": 0, **{f"c{i}": i for i in range(1, 33)}}}, "33 classes: give 2 to 32"),
        ({"pairs": [["l_eye", "r_ear"]]}, "pairs names 'r_ear', which is no class"),
        ({"pairs": [["l_eye", "r_eye"], ["l_eye", "skin"]]}, "pairs names 'l_eye' twice"),
        ({"pairs": {"l_eye": "r_eye"}}, "pairs is {'l_eye': 'r_eye'}: give a list"),
        ({"parts": {"chin": ["skin"]}}, "parts has 'chin': the parts are skin, nose"),
        ({"parts": {"skin": ["skim"]}}, "parts, skin, names 'skim', which is no class"),
        ({"groups": {"beard": ["skin"]}}, "groups has 'beard': use another name"),
        ({"colours": {"beard": [1, 2]}}, r"colour of beard is \[1, 2\]"),
        ({"names": ["skin"]}, "'names' is not known: a class file has ids, colours"),
        ({"ids": None}, "no table of ids"),
        ({}, "ids are not 0 to 4"),  # as the labels have them
        ("{", "not JSON"),
        ('{"ids": {"background": 0, "skin": 1, "skin": 2}}', "names 'skin' twice"),
    ],
)
def test_a_bad_class_file_is_refused_by_name(change, message, tmp_path):
    path = write(tmp_path / "classes.json", change if isinstance(change, str) else BEARD | change)
    with pytest.raises(DataError, match=rf"^{path}: .*{message}"):
        read_classes(tmp_path)


def test_images_and_masks_of_ones_own_are_prepared(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    write(raw / "classes.json", BEARD)
    for i, values in enumerate([[[10, 20], [30, 255]], [[0, 10]]]):
        write_pair(raw / "images" / f"a,{i}.jpg", raw / "masks" / f"a,{i}.png", values)
    write(raw / "train.txt", "a,0.jpg\n")
    write(raw / "val.txt", "a,1\n")
    prepare([f"raw={raw}", f"out={out}", "size=64"])
    samples, names = list_samples(out), ("background", "skin", "l_eye", "r_eye", "beard")
    assert [(s.id, s.split, s.classes.names) for s in samples] == [("a,0", "train", names), ("a,1", "val", names)]
    first, second = (read_label(s.label, s.classes) for s in samples)
    assert first[::32, ::32].tolist() == [[1, 2], [3, 4]]
    # The second is 64 x 32: a quarter of the square above and below it is black and ignored.
    assert second[::16, ::32].tolist() == [[255, 255], [0, 1], [0, 1], [255, 255]]
    assert read_image(samples[1].image)[[2, 61]].max() < 12
    with Image.open(samples[0].label) as picture:
        assert picture.getpalette()[12:15] == [90, 60, 30]
    assert "beard" in capsys.readouterr().out


def test_a_mask_value_without_a_class_is_refused_by_name(tmp_path):
    raw = tmp_path / "raw"
    write(raw / "classes.json", BEARD)
    write_pair(raw / "images" / "a.jpg", raw / "masks" / "a.png", [[10, 20]])
    write_pair(raw / "images" / "b.jpg", raw / "masks" / "b.png", [[10, 7]])
    with pytest.raises(DataError, match=r"1 of its images cannot be prepared.*masks/b.png: value 7 has no class"):
        prepare([f"raw={raw}", f"out={tmp_path / 'out'}", "size=64"])
    (raw / "masks" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b.jpg: image without a mask of the same name, as 1 of 2"):
        prepare([f"raw={raw}", f"out={tmp_path / 'other'}", "size=64"])


def test_files_that_are_not_prepared_are_listed(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    write(raw / "classes.json", BEARD)
    for name in ("a", "b", "c"):
        write_pair(raw / "images" / f"{name}.jpg", raw / "masks" / f"{name}.png", [[10, 20]])
    write(raw / "train.txt", "a\nb\n")
    for file in ("images/d.tif", "images/.hidden.tif", "masks/d.npy", "masks/a.bmp", "masks/e.png"):
        (raw / file).write_bytes((raw / "masks" / "a.png").read_bytes())
    prepare([f"raw={raw}", f"out={out}", "size=64"])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["splits"] == {"train": 2, "val": 0, "test": 0}
    assert {g["kind"]: [f["file"] for f in g["files"]] for g in summary["problems"][-4:]} == {
        "mask without an image": ["masks/e.png"],
        "second mask of one image": ["masks/a.png"],
        "file of a kind that is not read": ["images/d.tif", "masks/d.npy"],
        "image that no split lists": ["images/c.jpg"],
    }
    assert "problem: 2 x file of a kind that is not read" in capsys.readouterr().out


def test_lapa_is_prepared(tmp_path):
    raw, out = tmp_path / "LaPa", tmp_path / "out"
    for split in ("train", "val", "test"):
        folder = raw / split
        write_pair(folder / "images" / f"{split}_0.jpg", folder / "labels" / f"{split}_0.png", [[2, 5], [8, 10]])
    prepare([f"raw={raw}", f"out={out}", "size=64"])
    samples = list_samples(out)
    assert sorted((s.id, s.split) for s in samples) == [("test_0", "test"), ("train_0", "train"), ("val_0", "val")]
    # Its left brow is the image's left, which is the subject's right.
    names = [samples[0].classes.names[i] for i in read_label(samples[0].label, LAPA)[::32, ::32].ravel()]
    assert names == ["r_brow", "l_eye", "mouth", "hair"]
    assert samples[0].classes == LAPA


def test_easyportrait_is_prepared_and_mapped_to_train_with_lapa(tmp_path):
    raw, out = tmp_path / "EasyPortrait", tmp_path / "out"
    for split in ("train", "val"):
        image, mask = (f"{folder}/{split}/{split}" for folder in ("images", "annotations"))
        write_pair(raw / f"{image}.jpg", raw / f"{mask}.png", [[1, 2], [7, 8]])
    prepare([f"raw={raw}", f"out={tmp_path / 'own'}", "size=64"])
    assert read_classes(tmp_path / "own") == EASYPORTRAIT
    with pytest.raises(ConfigError, match=r"hair: person, lips, teeth; map them, as in map=\{person: background, "):
        prepare([f"raw={raw}", f"out={out}", "size=64", "classes=lapa"])
    table = "map={person: background, lips: u_lip, teeth: mouth}"
    prepare([f"raw={raw}", f"out={out}", "size=64", "classes=lapa", table])
    sample = list_samples(out)[0]
    assert sample.classes == LAPA
    assert read_label(sample.label, LAPA)[::32, ::32].tolist() == [[0, 1], [7, 8]]


def test_a_prepared_folder_is_mapped_even_beside_celebas_lists(tmp_path, tiny_root):
    raw = shutil.copytree(tiny_root, tmp_path / "raw")
    write(raw / "CelebA-HQ-to-CelebA-mapping.txt", "0 0 000001.jpg")
    prepare([f"raw={raw}", f"out={tmp_path / 'out'}", "size=64", "classes=lapa"])
    roots = {raw: CELEBAMASK_HQ, tmp_path / "out": LAPA}
    own, mapped = (read_label(list_samples(root)[0].label, classes) for root, classes in roots.items())
    assert {*np.unique(mapped)} == {[0, 1, 6, 1, 5, 4, 3, 2, 0, 0, 8, 7, 9, 10][i] for i in np.unique(own)}


def test_training_images_of_other_data_sets_are_added(tmp_path, tiny_root):
    data = DataConfig(root=str(tiny_root), more=[str(tiny_root)])
    samples = FaceDataModule(data, seed=0, total_steps=1).samples
    assert {s: len(own) for s, own in samples.items()} == {"train": 24, "val": 3, "test": 2}
    write(tmp_path / "classes.json", LAPA.to_plain())
    data = DataConfig(root=str(tiny_root), more=[str(tmp_path)])
    with pytest.raises(ConfigError, match=rf"data.more is '{tmp_path}': its classes are background, skin, r_brow"):
        _ = FaceDataModule(data, seed=0, total_steps=1).samples


def test_classes_are_merged_by_a_table():
    merged, ids = map_classes(CELEBAMASK_HQ, {"u_lip": "mouth", "l_lip": "mouth", "eye_g": "skin"})
    assert len(merged) == 16
    assert [merged.names[i] for i in ids[10:13]] == ["mouth"] * 3
    assert merged.ids("skin") == (1,)
    assert "eye_g" not in merged.parts  # skin still shows skin alone
    assert map_classes(CELEBAMASK_HQ, {}, LAPA)[1] == [0, 1, 6, 1, 5, 4, 3, 2, 0, 0, 8, 7, 9, 10, 0, 0, 0, 0, 0]
    with pytest.raises(ConfigError, match="map has 'hairs': did you mean 'hair'"):
        map_classes(CELEBAMASK_HQ, {"hairs": "hat"})


@pytest.mark.slow
def test_weights_of_other_classes_keep_the_rows_of_the_same_name(tmp_path):
    beard = Classes.from_plain(BEARD)
    old = build_model("fpn")
    write_weights(old, describe({"name": "fpn"}, 64) | {"terms": "Ask."}, tmp_path / "old.safetensors")
    new = build_model("fpn", classes=5)
    before = new.state_dict()["heads.0.1.weight"].clone()
    what, terms = begin_with(new, tmp_path / "old.safetensors", beard)
    assert (what, terms) == ("all weights but those of the classes beard, which start anew,", "Ask.")
    after, kept = new.state_dict()["heads.0.1.weight"], old.state_dict()["heads.0.1.weight"].half().float()
    for own, theirs in zip(range(4), (0, 1, 4, 5), strict=True):
        torch.testing.assert_close(after[own], kept[theirs])
    torch.testing.assert_close(after[4], before[4])
    trunk = "trunk.layer2.0.conv1.weight"
    torch.testing.assert_close(new.state_dict()[trunk], old.state_dict()[trunk].half().float())
    # They are stored with their classes, and a network of that size is built for them.
    write_weights(new, describe({"name": "fpn"}, 64, classes=beard), tmp_path / "new.safetensors")
    net, about = load_network(tmp_path / "new.safetensors")
    assert Classes.from_plain(about["classes"]) == beard
    assert net(torch.zeros(1, 3, 64, 64), auxiliary=False).predict[0].shape[1] == 5


def test_weights_with_bad_classes_and_data_of_other_classes_are_refused(tmp_path, tiny_root):
    path = tmp_path / "net.safetensors"
    write_weights(build_model("fpn"), describe({"name": "fpn"}, 64) | {"classes": {"ids": {"skin": 0}}}, path)
    with pytest.raises(CheckpointError, match="its classes: no class 'background'"):
        read_weights(path)
    said = r"'mine', which predicts background, skin, r_brow.* labels are background, skin, nose"
    with pytest.raises(ConfigError, match=said):
        require_classes(FacesConfig(root=str(tiny_root)), LAPA, "mine")


def test_weights_are_scored_on_labels_of_other_classes(capsys):
    """Glasses count as skin, by LaPa's table; hats as hair, as asked for."""
    seen = torch.tensor([[[1, 3], [14, 6]]])  # skin, glasses, hat, l_brow
    heads = Heads((torch.nn.functional.one_hot(seen, 19).movedim(-1, 1).float(),))
    scorer = Scorer(lambda pixels: heads, 32, torch.device("cpu"), None, CELEBAMASK_HQ)
    labels = torch.tensor([[[1, 1], [10, 2]]])  # skin, skin, hair, r_brow
    scores = scored_as(scorer, LAPA, {"hat": "hair"})([{"image": labels, "label": labels}])
    assert (scores["f1"]["skin"], scores["f1"]["hair"], scores["f1"]["l_brow"], scores["f1"]["r_brow"]) == (1, 1, 0, 0)
    assert "scored as the data set's classes: eye_g as skin, l_ear as background" in capsys.readouterr().out


def test_faces_have_key_points_of_every_class_and_landmarks_of_the_parts():
    beard = Classes.from_plain(BEARD)
    mask = np.zeros((200, 200), np.uint8)
    mask[20:190, 30:170] = 1
    mask[80:90, 60:80], mask[80:90, 120:140] = 3, 2
    mask[140:190, 50:150] = 4
    face = face_from_mask(mask, dict.fromkeys(range(5), 1.0), KeypointConfig(n=16), classes=beard)
    assert list(face.keypoints) == ["skin", "l_eye", "r_eye", "beard"]
    assert face.region("face").sum() == 170 * 140
    chin = face.landmarks["chin"].xy
    assert abs(chin[0] - 100) < 10
    assert chin[1] > 170  # of skin and beard together
    np.testing.assert_allclose(face.landmarks["r_eye_outer"].xy, (60, 84.5), atol=4)
    assert face.landmarks["nose_tip"].xy is None


def test_alignment_needs_skin_and_three_of_eyes_nose_and_mouth():
    require_parts(CELEBAMASK_HQ)
    require_parts(EASYPORTRAIT)  # no nose
    with pytest.raises(ConfigError, match="no class shows nose, mouth: use align=none, or name"):
        require_parts(Classes.from_plain(BEARD))

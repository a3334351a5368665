"""Class sets of 3 and of 30 classes through every command, and the guide to classes of one's own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import Toy
from PIL import Image
from runs import REPOSITORY, run_train
from test_docs import blocks, commands

from facekp.classes import Classes
from facekp.compare.__main__ import main as compare_main
from facekp.data.audit.__main__ import main as audit
from facekp.data.prepare.__main__ import main as prepare
from facekp.data.synthetic.write import draw_face
from facekp.evaluate import main as evaluate_main
from facekp.export.__main__ import main as export_main
from facekp.export.release import main as release
from facekp.figures.__main__ import main as draw_figures
from facekp.models.registry import NETWORKS
from facekp.predict.__main__ import main as predict_main
from facekp.weights.load import load_network

GUIDE = REPOSITORY / "docs" / "guides" / "classes.md"
FORMATS = "export=[mask,overlay,json,csv,coco,svg,labelme,masks,alpha,cutout]"


def write_blocks(raw, names):
    """Write 12 images of 64 x 64 pixels in blocks, one value for each class; the last block of all is ignored."""
    for folder in ("images", "masks"):
        (raw / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (256, 3))
    for i in range(12):
        label = np.append(rng.permutation(max(len(names), 35))[:35] % len(names), 255).reshape(6, 6).astype(np.uint8)
        label = label.repeat(11, 0).repeat(11, 1)[:64, :64]
        Image.fromarray(colours[label].astype(np.uint8)).save(raw / "images" / f"{i}.jpg", quality=95)
        Image.fromarray(label).save(raw / "masks" / f"{i}.png")
    ids = {name: i for i, name in enumerate(names)}
    (raw / "classes.json").write_text(json.dumps({"ids": ids}), "utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 30])
def test_every_command_takes_other_classes(count, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    NETWORKS.register("toy")(Toy)
    names = ["background", "skin", "beard", *(f"{side}_{i}" for i in range(20) for side in "lr")][:count]
    write_blocks(Path("raw"), names)
    prepare(["raw=raw", "out=data", "size=64"])
    audit(["root=data", "out=audit"])
    ckpt, files = "ckpt=first/checkpoints/last.ckpt", ["net.safetensors"]
    training = "model.name=toy", "data.root=data"
    run_train(*training, "data.balance=sqrt", "hydra.run.dir=first")
    assert list(json.loads(Path("first/metrics.json").read_text())["val"]["best"]["f1"]) == names
    if count == 3:  # what takes seconds and depends on the names alone
        run_train(*training, "hydra.run.dir=second", "init=first/checkpoints/last.ckpt")
        assert "init: all weights of first" in capfd.readouterr().out
        export_main([ckpt, "out=net.onnx"])
        files.append("net.onnx")
        compare_main(["first", "second", "out=compared"])
        assert "beard" in Path("compared/comparison.md").read_text()
        draw_figures([ckpt, "source=raw/images/0.jpg", "out=figures", "class=beard", "align=none", "device=cpu"])
    evaluate_main([ckpt, "data.root=data", "data.workers=0", "out=torch.json", "device=cpu", "tta=flip"])
    release([ckpt, "out=net.safetensors", "data.root=data", "data.workers=0", "offsets=4", "device=cpu"])
    for weights in files:
        out = f"{weights}.json"
        evaluate_main([f"ckpt={weights}", "data.root=data", "data.workers=0", f"out={out}", "device=cpu"])
        assert list(json.loads(Path(out).read_text())["iou"]) == names
        assert predict_main([f"ckpt={weights}", "source=raw/images/1*.jpg", f"out=out-{weights}", "align=none", FORMATS,
                             "regions=[beard]", "device=cpu"]) == 0  # fmt: skip
        said = capfd.readouterr().err
        assert "landmarks: none of r_eye, l_eye, r_brow, l_brow, r_ear, l_ear, nose, u_lip, l_lip, which no" in said
        categories = json.loads(Path(f"out-{weights}/annotations.json").read_text())["categories"]
        assert [one["name"] for one in categories] == names[1:]
    for arguments, message in (
        (["align=auto"], "align is 'auto', which needs skin and three of l_eye, r_eye, nose and mouth"),
        (["align=none", "export=[masks]", "regions=[hair]"], "no region is called 'hair'"),
        (["align=none", "ids=lapa"], "ids is 'lapa': no id for beard"),
    ):
        with pytest.raises(ValueError, match=message):
            predict_main([ckpt, "source=raw/images", "out=none", *arguments])
    with pytest.raises(ValueError, match=r"the classes background, skin.*: nose, .*as in map={nose: background, "):
        evaluate_main(["data.root=data", "out=shipped.json"])
    with pytest.raises(ValueError, match="class is 'nose': choose one of background, skin, beard"):
        draw_figures([ckpt, "source=raw/images/0.jpg", "out=figures", "align=none"])


@pytest.mark.slow
def test_the_guide_to_classes_of_ones_own(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for folder in ("images", "masks"):
        Path("mine", folder).mkdir(parents=True)
    ((title, text),) = [block for block in blocks(GUIDE, "json") if block[0]]
    Path(title).write_text(text, "utf-8")
    ids = json.loads(text)["ids"]
    for i in range(8):
        face = draw_face(i, 128)
        label = np.zeros((128, 128), np.uint8)
        for name, mask in face.masks.items():
            label[mask] = ids.get(name, 0)
        y, _ = np.nonzero(face.masks["skin"])
        beard = (label == ids["skin"]) & (np.arange(128)[:, None] > y.min() + 0.75 * np.ptp(y))
        label[beard] = ids["beard"]
        image = face.image.copy()
        image[beard] = (60, 40, 25)
        Image.fromarray(image).save(f"mine/images/{i}.png")
        Image.fromarray(label).save(f"mine/masks/{i}.png")
    (prepared, audited, trained, evaluated, predicted, *_) = commands(GUIDE)
    prepare([*prepared[2:], "size=64"])
    audit(audited[2:])
    run_train(*trained[2:])
    said = capfd.readouterr().out
    assert "init: all weights but those of the classes beard, which start anew, of shipped\n" in said
    evaluate_main([*evaluated[2:], "data.workers=0", "device=cpu"])
    assert list(json.loads(Path("scores.json").read_text())["f1"]) == list(ids)
    assert predict_main([*predicted[2:], "device=cpu"]) == 0
    assert "landmarks: none of r_ear, l_ear, which no class of these weights shows\n" in capfd.readouterr().err
    net, about = load_network("runs/beard/checkpoints/best.ckpt")
    classes = Classes.from_plain(about["classes"])
    assert classes.ids("skin") == (1, 2)
    assert about["terms"] == "Trained on CelebAMask-HQ: for non-commercial research and education only."
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 64, 64)).predict[0].shape[1] == 12

"""Exported networks: scored and run like their checkpoint."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.networks import Toy
from PIL import Image
from test_hub import FILES

from facekp import FaceParser
from facekp.errors import DataError
from facekp.evaluate import main as evaluate
from facekp.export.__main__ import main as export
from facekp.export.onnx import export_onnx
from facekp.models.registry import NETWORKS
from facekp.predict.__main__ import main as predict
from facekp.weights.checkpoint import KEY, describe


@pytest.mark.slow
def test_an_exported_network_is_scored_and_predicts_like_its_checkpoint(tiny_root, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    NETWORKS.register("toy")(Toy)
    checkpoint = tmp_path / "best.ckpt"
    weights = {f"net.{name}": value for name, value in Toy().state_dict().items()}
    torch.save({KEY: describe({"name": "toy"}, 64), "state_dict": weights}, checkpoint)
    file, made = tmp_path / "folder" / "model.onnx", tmp_path / "made.onnx"

    def export_once(net, size, path, *more):  # it takes seconds, and int8 is made from the same file
        if not made.exists():
            export_onnx(net, size, made, *more)
        shutil.copy(made, path)

    monkeypatch.setattr("facekp.export.onnx.export_onnx", export_once)
    for precision, out, more in (
        ("int8", tmp_path / "int8.onnx", [f"data.root={tiny_root}", "images=2"]),
        ("float32", file.parent, []),
    ):
        export([f"ckpt={checkpoint}", f"precision={precision}", f"out={out}", *more])
        assert f"{precision}, for images of 64 pixels" in capsys.readouterr().out
        if precision == "int8":  # facekp's own, so the next one may replace it
            file.parent.mkdir()
            shutil.copy(out, file)
    assert {path.name for path in file.parent.iterdir()} == FILES | {"model.onnx"}
    assert FaceParser.from_pretrained(file.parent, detector="haar").stages.backend.size == 64
    (theirs := tmp_path / "theirs.onnx").write_bytes(b"another network")
    with pytest.raises(DataError, match=r"theirs.onnx': would be replaced"):
        export([f"ckpt={checkpoint}", f"out={theirs}"])
    scores = []
    for ckpt in (checkpoint, file):
        out = tmp_path / f"{ckpt.suffix}.json"
        evaluate([f"ckpt={ckpt}", f"data.root={tiny_root}", f"out={out}", "data.workers=0", "device=cpu"])
        scores.append(json.loads(out.read_text()))
    assert scores[1]["loss"] is None  # of heads that are not exported
    for name in ("miou", "mean_f1", "pixel_accuracy"):
        assert scores[1][name] == pytest.approx(scores[0][name], abs=2e-4), name
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    arguments = [f"source={tmp_path / 'photo.png'}", f"out={tmp_path / 'out'}"]
    assert predict([f"ckpt={tmp_path / 'int8.onnx'}", *arguments]) == 0
    assert (tmp_path / "out" / "photo.mask.png").is_file()

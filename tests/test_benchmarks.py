"""Benchmarks: the arithmetic that readers rely on, by hand, and a run of each command at tiny sizes."""

import json
import math
from dataclasses import replace
from functools import partial
from importlib import import_module
from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from torch.utils.data import default_collate

from benchmarks import align, audit, harness, landmarks, loader, loss, predict, scaling, step
from benchmarks.__main__ import GROUPS
from benchmarks.card.groups import measure, select_members
from benchmarks.card.scores import contrast, report_worst, tables
from benchmarks.harness import Bench, Rates, build, describe, make_row
from benchmarks.samples import DLIB, MEDIAPIPE
from facekp.classes import CELEBAMASK_HQ
from facekp.config import DataConfig
from facekp.data.dataset import FaceDataset, to_batch
from facekp.data.layout import read_index
from facekp.data.transforms import training_transform
from facekp.errors import ConfigError, DataError
from facekp.keypoints.landmarks import Calibration
from facekp.losses import OhemCrossEntropy
from facekp.parsing.backends import TorchBackend
from facekp.parsing.surroundings import REACHING

CPU, MIB = torch.device("cpu"), 1 << 20
BENCH = Bench(CPU, Rates({"float32": 50.0}, 10.0), repeats=5, quick=True)
SKIN = 1


def test_ratios_are_those_of_the_pairs():
    # Ratios 0.25, 0.75, 1: their median is not the ratio of the medians, 2 / 4.
    row = make_row("group/case", "s", [[1.0, 6.0, 2.0], [4.0, 8.0, 2.0]], peer_name="other")
    assert (row.ours, row.ours_min, row.ours_max, row.repeats) == (2.0, 1.0, 6.0, 3)
    assert (row.peer, row.ratio, row.spread) == (4.0, 0.75, (0.25, 1.0))
    alone = make_row("group/case", "s", [[1.0, 6.0]])
    assert (alone.ours, alone.peer, alone.ratio) == (3.5, None, None)


def test_looks_of_two_detectors_are_compared_in_pairs(monkeypatch):
    monkeypatch.setattr(align, "seconds_of", lambda detector, image: detector[image])
    # The first picture warms up. The ratio is the median of the pairs', not that of the medians.
    row = align.measure_looks(((90, 1, 6, 3), (1, 2, 2, 1)), range(4))
    assert row == {"look_s": 3, "peer_s": 2, "ratio": 3, "pictures": 3}


@pytest.mark.slow
def test_memory_is_that_of_the_call():
    prepare = partial(partial, torch.ones, 100 * MIB, dtype=torch.uint8)
    assert 95 < harness.peak_memory(prepare, CPU) < 130


def test_rows_are_kept_if_measured_under_the_same_circumstances(tmp_path):
    path = tmp_path / "new" / "results.json"

    def written(bench, **values):
        harness.write(path, describe(bench, [make_row(name, "s", [[value]]) for name, value in values.items()]))
        return {row["name"]: row["ours"] for row in json.loads(path.read_text())["rows"]}

    assert written(BENCH, x=1.0, y=2.0) == {"x": 1.0, "y": 2.0}
    assert written(BENCH, y=3.0) == {"x": 1.0, "y": 3.0}
    assert written(replace(BENCH, threads=99), x=1.0) == {"x": 1.0}
    path.write_text('{"mine": 1}')
    with pytest.raises(DataError, match=r"results\.json': holds no benchmark results .*out="):
        written(BENCH)
    with pytest.raises(ConfigError, match="that is a folder"):
        harness.output("out", str(tmp_path), "", CPU, False)


@pytest.mark.parametrize("peer", [loss.SortOhem, loss.TopkOhem])
@pytest.mark.parametrize("margin", [-6.0, 4.0, 6.0])  # all hard, some hard, none hard
def test_peers_losses_equal_ours(peer, margin):
    scores, labels = torch.randn(2, 19, 4, 6, dtype=torch.float64), torch.full((2, 32, 48), SKIN)
    scores[:, SKIN] += margin
    labels[:, :5] = 255
    torch.testing.assert_close(peer()(scores, labels), OhemCrossEntropy()(scores, labels), rtol=1e-12, atol=0)


def test_loaders_give_the_same_where_nothing_is_random(tiny_root):
    samples = read_index(tiny_root)["train"]
    c = DataConfig(root=str(tiny_root), size=96, crop=96, scales=[1.0], jitter=0.0, flip=1.0)
    ours = FaceDataset(samples, training_transform(c.size, c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip))
    want = to_batch(default_collate([ours[0, 0]]))
    for peer in (loader.NaiveDataset(samples, c), loader.PlainDataset(samples, c)):
        assert torch.equal(peer[0, 0]["label"], want["label"][0])
        torch.testing.assert_close(peer[0, 0]["image"], want["image"][0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_step_trains():
    call = step.Step(step.Way("ours"), 2, 64, CPU)
    losses = [call().item() for _ in range(16)]  # of the same images
    assert losses[-1] < losses[0] - 0.1


def test_groups_by_hand():
    label, photo = np.zeros((20, 20), np.uint8), np.full((20, 20, 3), 50, np.uint8)
    photo[:, 12:] = 150
    for name, box in {
        "hair": np.s_[5:7], "skin": np.s_[10:14, 10:14], "r_eye": np.s_[8, 4], "l_eye": np.s_[8, 14],
        "nose": np.s_[14, 11:13], "r_brow": np.s_[2, 2], "l_brow": np.s_[2, 12], "u_lip": np.s_[15, 2:13],
    }.items():  # fmt: skip
        label[box] = CELEBAMASK_HQ.index(name)
    numbers = measure(photo, label)
    assert numbers["turned_left"] == pytest.approx((11.5 - 9) / 10)
    # Skin and nose: 9 pixels on either side of column 11.5, which are those of 50 and of 150.
    assert (numbers["dark_face"], numbers["uneven_light"]) == (100, 1)
    members = select_members(pd.DataFrame({"hidden_eye": [math.nan, 0, 1, 0], "dark_face": [math.nan, 7, 9, 8]}))
    assert members.fillna(-1).to_numpy().T.tolist() == [[-1, 0, 1, 0], [-1, 1, 0, 0]]


def confusion(**counts):
    matrix = np.zeros((19, 19), np.int64)
    for place, count in counts.items():
        matrix[tuple(map(int, place[1:].split("_")))] = count
    return matrix


def test_like_is_compared_with_like():
    wearing, plain = confusion(_1_1=8, _1_13=2, _13_13=10, _3_3=4), confusion(_1_1=10, _13_13=10)
    mistaken = confusion(_1_1=10, _13_13=10, _1_3=5)
    members = [1] * 10 + [0] * 10
    row = contrast(np.stack([wearing] * 10 + [plain] * 9 + [mistaken]), members, 200)
    assert row["classes"] == ["skin", "hair"]  # glasses are in the truth of one side only
    assert row["mean_f1"]["group"] == pytest.approx((160 / 180 + 200 / 220) / 2, abs=1e-6)
    assert row["mean_f1"]["others"] == pytest.approx((200 / 205 + 1) / 2, abs=1e-6)
    assert row["miou"]["group"] == pytest.approx((80 / 100 + 100 / 120) / 2, abs=1e-6)
    assert contrast(np.stack([wearing] * 20), [1] * 9 + [0] * 11)["mean_f1"] is None


def test_the_interval_is_that_of_the_binomial_distribution():
    # Of ten images five are found, five not. Drawn again, k of ten are found, k binomial with 1/2: P(k <= 1) = 0.011,
    # P(k <= 2) = 0.055, so 2 and 8 are the percentiles. F1 is then 2 * 10 k / (100 + 10 k).
    found, missed = confusion(_1_1=10), confusion(_1_0=10)
    row = contrast(np.stack([found] * 5 + [missed] * 5 + [found] * 10), [1] * 10 + [0] * 10, 4000)
    assert row["mean_f1"]["difference"] == pytest.approx(100 / 150 - 1, abs=1e-6)
    assert row["mean_f1"]["low"] == pytest.approx(40 / 120 - 1, abs=1e-6)
    assert row["mean_f1"]["high"] == pytest.approx(160 / 180 - 1, abs=1e-6)


def test_the_worst_images_and_their_errors():
    images = [confusion(_1_1=4), confusion(_1_1=4, _1_13=4), confusion(_1_1=4, _14_1=1)]
    report = report_worst(["a", "b", "c"], np.stack(images), pd.DataFrame({"hat": [0, math.nan, 1]}), 2)
    # b: skin 8 / 12, hair 0; c: skin 8 / 9, hat 0.
    assert report["images"] == [
        {"id": "b", "score": 0.3333, "missed": {}, "false_positive": {"hair": 4}, "groups": []},
        {"id": "c", "score": 0.4444, "missed": {"hat": 0.0}, "false_positive": {}, "groups": ["hat"]},
    ]
    assert (report["missed"], report["all"]["median"]) == ({"hat": 1}, 0.4444)


def test_the_model_card_has_the_tables_of_its_file():
    page = (REPOSITORY / "docs" / "results" / "model_card.md").read_text(encoding="utf-8")
    for table in tables(json.loads((REPOSITORY / "benchmarks" / "card.json").read_text(encoding="utf-8"))):
        assert table in page


def take_a_call(prepare, device):
    """Replace `peak_memory`, which starts a process for each call."""
    prepare()()
    return 7.0


ROWS = {"loss": "hard100 hard30 hard10 floor hard30_topk", "step": "bisenet smp_unet", "predict": "bisenet fps",
        "folder": "files overlays", "loader": "naive bytes decoded",
        "gpu": "train/resnet18/float32 network parse loader"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("group", ROWS)
def test_rows(group, tiny_root, monkeypatch):
    for module in (loss, step, predict):
        monkeypatch.setattr(module, "peak_memory", take_a_call)
    # Exporting a network takes 15 s; `open_network` goes its way with an empty file.
    monkeypatch.setattr(predict, "backend_names", lambda bench: ["torch-float32", "onnx-float32"])
    monkeypatch.setattr(predict, "export_onnx", lambda net, size, path: path.touch())
    on_torch = partial(TorchBackend, size=64, device=CPU, precision="float32")
    monkeypatch.setattr(predict, "open_backend", lambda path, backend: on_torch(build(path.name.partition(".")[0])))
    if group in ("step", "predict", "gpu"):
        monkeypatch.setattr(Bench, "size", 64)
    bench = replace(BENCH, repeats=1, root=str(tiny_root))
    rows = {row.name: row for row in resolve_name(f"benchmarks.{GROUPS[group]}")(bench)}
    assert {f"{group}/{case}" for case in ROWS[group].split()} <= rows.keys()
    assert all(row.ratio == row.ours / row.peer for row in rows.values() if row.peer)
    if group == "step":  # 2.38 G multiply-adds at 448 pixels, two images, three passes, 50 GFLOP/s
        limit = 2 * 3 * 2 * 2.38 / 50 * (bench.size / 448) ** 2
        assert rows["step/bisenet"].limit["convolution"] == pytest.approx(limit, rel=0.01)


def command(name, **settings):
    module = import_module(f"benchmarks.{name}")
    module.main(module.Options(**settings))


@pytest.mark.slow
def test_scaling_and_speed_write_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "peak_memory", take_a_call)
    monkeypatch.setattr(scaling, "sweeps", lambda quick, all=scaling.sweeps: [s[:1] for s in all(quick=quick)])
    command("scaling", device="cpu", quick=True, out=f"{tmp_path}/a.json", plot=f"{tmp_path}/a.png")
    assert all(point["seconds"] > 0 for point in json.loads((tmp_path / "a.json").read_text())["points"])
    assert (tmp_path / "a.png").stat().st_size > 10_000
    command("__main__", only="keypoints", device="cpu", quick=True, repeats=5, out=f"{tmp_path}/b.json")
    content = json.loads((tmp_path / "b.json").read_text())
    assert {"machine", "versions", "date", "rates", "rows"} <= content.keys()
    assert {"name", "unit", "ours", "peer", "peer_name", "ratio"} <= content["rows"][0].keys()
    assert [row["name"] for row in content["rows"]] == ["keypoints/ms", "keypoints/canny", "keypoints/argmax"]
    with pytest.raises(ConfigError, match="only is 'stpe': choose from loss, step"):
        command("__main__", only="loss,stpe")


@pytest.mark.slow
def test_commands_on_labelled_faces(tiny_root, tmp_path, capsys, monkeypatch):
    data, read = DataConfig(root=str(tiny_root), workers=0), lambda name: json.loads((tmp_path / name).read_text())
    command("outlines", data=data, images=2, out=f"{tmp_path}/outlines.json")
    assert set(read("outlines.json")["mean"]) == {"canny", "contour"}
    small = {"images": 1, "scales": [0.5], "angles": [0.0], "crowds": 0, "detector": "haar"}
    for more, rows in (({}, 2), ({"cut": False, "scores": False}, 1)):
        command("align", data=data, **small, **more, out=f"{tmp_path}/align{rows}.json")
        assert len(read(f"align{rows}.json")["rows"]) == rows
    command("occluders", data=data, images=1, out=f"{tmp_path}/occluders.json")
    rows = read("occluders.json")["rows"]
    assert [row["thing"] for row in rows] == ["hand", "microphone", "cup", "mask"]
    assert 0 <= rows[3]["wrong"] <= 1
    command("surroundings", data=data, images=1, out=f"{tmp_path}/surroundings.json")
    assert [row["class"] for row in read("surroundings.json")["rows"]] == [*REACHING]
    for name, count in ((DLIB, 68), (MEDIAPIPE, 478)):
        points = pd.DataFrame(np.random.default_rng(0).uniform(0, 512, (3, 2 * count)), ["00012", "00013", "00014"])
        points.to_csv(tmp_path / name, index_label="id")
    monkeypatch.setattr(landmarks, "held_out", lambda gaps: [Calibration({}, {})] * len(gaps))  # of three faces
    command("landmarks", root=str(tiny_root), landmarks=str(tmp_path), out=f"{tmp_path}/landmarks.json")
    assert len(read("landmarks.json")["rows"]) == 68 + 2
    command("card.__main__", data=data, sizes=[32], worst=2, out=f"{tmp_path}/card.json")
    assert set(read("card.json")["scores"]) == {"32"}
    command("smoothing", rates=[10])
    assert "0.57 |" in capsys.readouterr().out  # noise left, as in docs/guides/predict.md


def test_flaws_that_the_audit_found_are_counted():
    flaws = pd.DataFrame({"id": ["a", "b", "c"], "flaw": [*audit.KNOWN], "duplicate_of": ["", "", "x"]})
    found = pd.DataFrame([("a", "reversed", ""), ("c", "near_duplicate", "x"), ("z", "tiny", "")])
    lines = audit.report(flaws, found.set_axis(["id", "kind", "other_id"], axis=1), others=10).splitlines()
    for cells in ("reversed 1 1 100.0%", "partly_reversed 0 1 0.0%", "duplicate 1 1 100.0%", "tiny 1 10.00%"):
        assert cells.split() in [line.split() for line in lines]

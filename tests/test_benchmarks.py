"""The benchmarks measure what they say; what the figures are is nothing that a test can know."""

import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.losses import random_case, value_and_gradient
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch import Tensor, nn
from torch.utils.data import default_collate

import benchmarks.__main__
import benchmarks.crowd
import benchmarks.scaling
import benchmarks.step
import benchmarks.timing
from benchmarks import limits, loader, loader_peers
from benchmarks.__main__ import GROUPS, Settings, measure
from benchmarks.harness import Bench, alternate, make_row
from benchmarks.limits import Rates
from benchmarks.loads import QUICK_SWEEPS, Load, prepare_search
from benchmarks.loss import SHARES
from benchmarks.memory import peak_memory
from benchmarks.peers import PeerMissingError, SortOhem, TopkOhem
from benchmarks.results import describe, reserve, table, write
from benchmarks.scaling import Point
from benchmarks.scores import draw_labels, find_margin, make_scores
from facekp.cli import parse_cli
from facekp.config import DataConfig
from facekp.data.dataset import FaceDataset, to_batch
from facekp.data.layout import read_index
from facekp.data.transforms import training_transform
from facekp.errors import ConfigError, DataError
from facekp.losses.ohem import OhemCrossEntropy

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RATES = Rates(matmul={"float32": 100.0}, convolution={"float32": 50.0}, copy=10.0)
MIB = 1 << 20


def tiny_bench(**settings: object) -> Bench:
    return Bench(CPU, RATES, repeats=5, quick=True, **settings)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give a clock that stands still unless a test adds to its one number."""
    now = [0.0]
    monkeypatch.setattr(benchmarks.timing.time, "perf_counter", lambda: now[0])
    return now


class TestPeerLosses:
    @pytest.mark.parametrize("peer", [SortOhem, TopkOhem])
    @pytest.mark.parametrize("margin", [-6.0, 4.0, 4.6, 6.0])  # all hard, some hard, about n_min hard, none hard
    def test_they_equal_ours(self, peer: type[nn.Module], margin: float) -> None:
        scores, labels = random_case(2, 4, 6, 32, 48, spread=0.5)
        scores[:, 3] += margin
        labels = torch.where(labels == 255, 255, 3)
        want, want_grad = value_and_gradient(OhemCrossEntropy(), scores, labels)
        got, grad = value_and_gradient(peer(), scores, labels)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
        torch.testing.assert_close(grad, want_grad, rtol=1e-10, atol=1e-15)

    @pytest.mark.parametrize("peer", [SortOhem, TopkOhem])
    def test_another_ignore_index(self, peer: type[nn.Module]) -> None:
        scores, labels = random_case(1, 4, 4, 32, 32, spread=0.5)
        scores[:, 3] += 6  # at the floor, where the number of valid pixels decides
        labels = torch.where(labels == 255, 0, 3)
        want = OhemCrossEntropy(ignore_index=0)(scores, labels)
        torch.testing.assert_close(peer(ignore_index=0)(scores, labels), want, rtol=1e-12, atol=0)


def share_below_threshold(scores: Tensor, labels: Tensor) -> float:
    up = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
    true = up.softmax(1).gather(1, labels[:, None])
    return (true < 0.7).float().mean().item()


@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
def test_scores_have_the_hard_share_that_is_wanted(share: float) -> None:
    labels = draw_labels(2, 192)
    assert labels.dtype == torch.int64
    assert len(labels.unique()) > 10
    found = share_below_threshold(make_scores(labels, find_margin(labels, share)), labels)
    assert found == pytest.approx(share, abs=0.003)


def test_at_the_floor_fewer_are_hard_than_are_kept() -> None:
    assert SHARES["floor"] + 0.003 < OhemCrossEntropy().min_kept < SHARES["hard10"]


def test_a_hard_share_out_of_reach_is_named() -> None:
    # The classes change from pixel to pixel, finer than the scores: no margin makes all easy.
    with pytest.raises(ValueError, match=r"share is 0\.1: .*take larger images"):
        find_margin(torch.arange(64 * 64).view(1, 64, 64) % 19, 0.1)


class TestRow:
    def test_by_hand(self) -> None:
        # Ratios 0.25, 0.75, 1: their median is not the ratio of the medians, 2 / 4.
        row = make_row("group/case", "s", [1.0, 6.0, 2.0], [4.0, 8.0, 2.0], peer_name="other")
        assert (row.ours, row.ours_min, row.ours_max, row.repeats) == (2.0, 1.0, 6.0, 3)
        assert (row.peer, row.ratio, row.spread) == (4.0, 0.75, (0.25, 1.0))

    def test_without_a_peer(self) -> None:
        row = make_row("group/case", "s", [1.0, 6.0])
        assert (row.ours, row.peer, row.ratio, row.spread) == (3.5, None, None, None)

    def test_runs_that_are_no_pairs_are_refused(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            make_row("group/case", "s", [1.0, 6.0], [1.0])


class TestAlternate:
    def test_warms_both_up_and_then_takes_turns(self, clock: list[float]) -> None:
        calls = []

        def call(name: str, slow: float, usual: float) -> None:
            clock[0] += usual if name in calls else slow  # the first run of each takes long
            calls.append(name)

        runs = alternate(lambda: call("ours", 100, 2), lambda: call("peer", 200, 5), tiny_bench())
        assert calls == ["ours", "peer"] * 6
        assert runs == ([2] * 5, [5] * 5)

    def test_without_a_peer(self, clock: list[float]) -> None:
        def call() -> None:
            clock[0] += 3

        assert alternate(call, None, tiny_bench(), repeats=2) == ([3, 3], [])


def test_rates_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(step=0.5)
    monkeypatch.setattr(
        benchmarks.timing.time, "perf_counter", lambda: next(seconds)
    )  # so each run takes half a second
    assert limits.matmul_rate(torch.float32, CPU, quick=True) == pytest.approx(2 * 256**3 / 0.5e9)
    assert limits.convolution_rate(torch.float32, CPU, quick=True) == pytest.approx(2 * 9 * 128 * 128 * 14 * 14 / 0.5e9)
    assert limits.copy_rate(CPU, quick=True) == pytest.approx(2 * 4 * MIB / 0.5e9)


def after_a_large_array() -> Callable[[], object]:
    """Return what takes 100 MiB at once, after more was taken and given back, which must not count."""
    np.ones(300 * MIB, dtype=np.uint8)
    return functools.partial(torch.ones, 100 * MIB, dtype=torch.uint8)


def after_small_pieces() -> Callable[[], object]:
    """Return what takes 100 MiB in pieces, after as many were given back: C's allocator keeps those for such a call."""
    pieces = small_pieces()
    pinned.append(b"y" * 100_000)  # above them, so that the heap cannot shrink
    del pieces
    return small_pieces


pinned: list[bytes] = []


def small_pieces() -> list[bytes]:
    return [bytes([i % 255 + 1]) * (MIB // 10) for i in range(1000)]


def a_call_that_kills() -> Callable[[], object]:
    return functools.partial(os._exit, 9)


class TestPeakMemory:
    @pytest.mark.parametrize("prepare", [after_a_large_array, after_small_pieces])
    def test_counts_what_the_call_takes(self, prepare: Callable[[], Callable[[], object]]) -> None:
        assert 95 < peak_memory(prepare, CPU) < 130

    def test_a_process_that_is_killed_is_an_error(self) -> None:
        with pytest.raises(BrokenProcessPool):
            peak_memory(a_call_that_kills, CPU)


class TestResults:
    def test_a_quick_run_of_the_loss_writes_what_is_documented(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "results.json"
        measure(Settings(only="loss", device="cpu", quick=True, repeats=5, out=str(path)))
        content = json.loads(path.read_text())
        assert {"machine", "versions", "date", "rows"} <= content.keys()
        assert content["versions"]["torch"] == torch.__version__.partition("+")[0]
        assert content["quick"] is True
        rows = {row["name"]: row for row in content["rows"]}
        documented = {"loss/hard100", "loss/hard30", "loss/hard10", "loss/floor", "loss_memory/hard10"}
        assert documented <= rows.keys()
        for row in rows.values():
            assert row["ours"] > 0
            assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
            assert row["ours_min"] <= row["ours"] <= row["ours_max"]
            assert "OHEM" in row["peer_name"]
        assert {name: row["unit"] for name, row in rows.items() if row["unit"] != "s"} == {"loss_memory/hard10": "MiB"}
        for case, share in SHARES.items():
            measured = float(rows[f"loss/{case}"]["note"].partition("% hard pixels")[0]) / 100
            assert measured == pytest.approx(share, abs=0.003)
        # The floor's gradient needs a second sweep, so twice the products.
        products = {name: row["limit"]["matmul"] for name, row in rows.items() if row["limit"]}
        assert products["loss/floor"] == pytest.approx(2 * products["loss/hard100"])

    def test_rows_replace_those_of_their_name_and_leave_others(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        write(path, describe(tiny_bench(), [make_row("a/x", "s", [1.0]), make_row("a/y", "s", [2.0])]))
        write(path, describe(tiny_bench(), [make_row("a/y", "s", [3.0]), make_row("b/z", "s", [4.0])]))
        found = {row["name"]: row["ours"] for row in json.loads(path.read_text())["rows"]}
        assert found == {"a/x": 1.0, "a/y": 3.0, "b/z": 4.0}

    @pytest.mark.parametrize("key", ["machine", "versions", "threads", "device", "quick"])
    def test_rows_from_other_circumstances_go(self, tmp_path: Path, key: str) -> None:
        path = tmp_path / "results.json"
        write(path, describe(tiny_bench(), [make_row("a/x", "s", [1.0])]) | {key: "another"})
        write(path, describe(tiny_bench(), [make_row("a/y", "s", [3.0])]))
        assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["a/y"]

    def test_another_file_is_not_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "results.json"
        path.write_text('{"mine": 1}')
        with pytest.raises(DataError, match=r"results\.json': holds no benchmark results .*out="):
            write(path, describe(tiny_bench(), []))
        assert path.read_text() == '{"mine": 1}'

    def test_the_folder_of_a_file_is_made_beforehand(self, tmp_path: Path) -> None:
        reserve("out", tmp_path / "new" / "one" / "results.json")
        assert not list((tmp_path / "new" / "one").iterdir())
        with pytest.raises(ConfigError, match=r"out is '.*new': that is a folder; name a file in it"):
            reserve("out", tmp_path / "new")

    def test_the_table_shows_ratio_memory_and_the_nearest_limit(self) -> None:
        row = make_row("a/x", "s", [2.0], [4.0], peer_name="other", memory={"ours": 12.3, "peer": 45.6},
                       limit={"copy": 0.25, "matmul": 0.5}, note="both warm")  # fmt: skip
        alone = make_row("a/alone", "s", [1.0])
        lines = table(describe(tiny_bench(), [row, alone])["rows"]).splitlines()
        (line,) = [line for line in lines if line.startswith("a/x ")]
        for cell in (" 0.5 ", " 12 / 46 ", " 0.5 (matmul) ", " 25% ", " other ", " both warm"):
            assert cell in line + " "
        (line,) = [line for line in lines if line.startswith("a/alone")]
        assert line.split() == ["a/alone", "s", "1", *"-------"]


class TestSettings:
    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("only=loss,stpe", r"only is 'stpe': choose from loss, step, predict, folder, keypoints, loader"),
            ("repeats=4", r"repeats is 4: give at least 5"),
            ("device=tpu", r"device is 'tpu'"),
        ],
    )
    def test_bad_values_are_named(self, argument: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            parse_cli(Settings, [argument], program="", about="")

    def test_default_files(self) -> None:
        folder = Path(benchmarks.__main__.__file__).parent
        assert Settings().groups == list(GROUPS)
        assert Settings().path(CPU) == folder / "results.json"
        assert Settings().path(torch.device("cuda")) == folder / "results-cuda.json"
        assert Settings(quick=True).path(CPU) is None  # figures that mean nothing replace none that do


def test_a_peer_that_is_not_installed_gives_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> nn.Module:
        raise PeerMissingError("it is not installed")

    for name in ("bisenet", "smp_unet"):
        contender = benchmarks.step.Contender(name, missing, F.cross_entropy)
        monkeypatch.setitem(benchmarks.step.CONTENDERS, name, contender)
    monkeypatch.setattr(benchmarks.step, "peak_memory", lambda prepare, device: 7.0)
    monkeypatch.setattr(Bench, "size", 32)
    rows = list(benchmarks.step.rows(tiny_bench()))
    assert [row.name for row in rows] == ["step/bisenet", "step/smp_unet"]
    for row in rows:
        assert row.ratio is row.peer is None
        assert row.ours > 0
        assert row.memory == {"ours": 7.0}
        assert "it is not installed" in row.note


def test_a_step_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same images again and again: the loss falls, so forward, backward and optimiser are all there.
    losses = []

    def loss(scores: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        losses.append(ours.loss(scores, labels))
        return losses[-1]

    ours = benchmarks.step.CONTENDERS["resnet18"]
    spied = benchmarks.step.Contender(ours.title, ours.build, loss, ours.optimisers)
    monkeypatch.setitem(benchmarks.step.CONTENDERS, "resnet18", spied)
    step = benchmarks.step.prepare(benchmarks.step.Way("resnet18"), 2, 64, CPU)
    for _ in range(8):
        step()
    assert losses[-1] < 0.9 * losses[0]


class TestLoader:
    def test_all_give_the_same_where_nothing_is_random(self, tiny_root: Path) -> None:
        samples = read_index(tiny_root)["train"]
        c = DataConfig(root=str(tiny_root), size=96, crop=96, scales=[1.0], jitter=0.0, flip=1.0)
        transform = training_transform(c.size, c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip)
        ours = FaceDataset(samples, transform)
        naive, plain = loader_peers.NaiveDataset(samples, c), loader_peers.PlainDataset(samples, c)
        for index in range(3):
            want = to_batch(default_collate([ours[index, 0]]))
            for got in (naive[index], plain[index, 0]):
                assert torch.equal(got["label"], want["label"][0])
                torch.testing.assert_close(got["image"], want["image"][0], rtol=1e-4, atol=1e-4)

    def test_rows(self, tiny_root: Path) -> None:
        torch.set_num_threads(2)
        bench = tiny_bench(root=tiny_root)
        rows = []
        for row in loader.rows(bench):
            rows.append(row)
            assert describe(bench, rows)["threads"] == 2  # not the one that a loader has while it is measured
        assert [row.name for row in rows] == [
            *(f"loader/{case}" for case in ("naive", "albumentations", "bytes", "decoded", "workers_1", "workers_2")),
            *(f"loader_stage/{s}" for s in ("decode", "jitter", "mirror_scale_crop", "collate", "normalise")),
        ]
        assert {(row.unit, row.peer_name) for row in rows if row.name != "loader/albumentations"} == {
            ("ms/image", "PIL and torchvision")
        }
        assert "12 images, 512 to 448 pixels" in rows[0].note
        # 24 draws in each timed run: images/s and ms/image say the same.
        assert f"{1000 / rows[0].ours:.0f} images/s" in rows[0].note
        assert torch.get_num_threads() == 2


class Unheard:
    """A network whose answers nobody reads, and which counts the images that it sees."""

    size, batch, streams = 448, 3, 1
    seen = 0

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        assert images.shape[1:] == (448, 448, 3)
        self.seen += len(images)
        return []


class TestCrowd:
    @pytest.mark.parametrize("faces", [1, 2, 16])
    def test_every_face_comes_out_where_it_is_and_was_looked_at_twice(self, faces: int) -> None:
        network = Unheard()
        found = benchmarks.crowd.prepare_crowd(network, faces, 1024)()
        assert network.seen == 1 + 2 * faces == Load(1, 448, faces).views
        # Row by row on a grid of 4 x 4, so each in a square of 256 pixels of its own.
        noses = [face.keypoints["nose"].mean(0) // 256 for face in found]
        assert sorted((row, column) for column, row in noses) == [divmod(number, 4) for number in range(faces)]
        assert {face.mask.shape for face in found} == {(1024, 1024)}

    def test_a_face_that_is_not_found_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        place = benchmarks.crowd.place_faces
        monkeypatch.setattr(benchmarks.crowd, "place_faces", lambda faces, side: place(faces - 1, side))
        with pytest.raises(RuntimeError, match="1 faces came out of a photo of 2"):
            benchmarks.crowd.prepare_crowd(Unheard(), 2, 1024)()

    @pytest.mark.parametrize("load", QUICK_SWEEPS["faces"], ids=str)
    def test_a_quick_run_finds_them_too(self, load: Load) -> None:
        assert len(prepare_search("float32", load, CPU)()) == load.faces


class TestScaling:
    @pytest.fixture
    def points(self, monkeypatch: pytest.MonkeyPatch) -> list[Point]:
        """Measure with a machine that takes 1 s and 1000 MiB a megapixel, and may take 2000 MiB."""
        return self.measure(monkeypatch, seconds=60, memory=2000)

    def measure(self, monkeypatch: pytest.MonkeyPatch, *, seconds: float, memory: float) -> list[Point]:
        def pretend(point: Point, prepare: object, bench: Bench, memory: float) -> Point:
            megapixels = self.megapixels(point)
            if megapixels > 5:
                return dataclasses.replace(point, skipped="ran out of memory")
            return dataclasses.replace(point, seconds=megapixels, memory=1000 * megapixels, limit=0.1)

        monkeypatch.setattr(benchmarks.scaling, "_measure_point", pretend)
        return list(benchmarks.scaling.measure(Bench(CPU, RATES), seconds=seconds, memory=memory))

    def megapixels(self, point: Point) -> float:
        return point.batch * (1 + 2 * point.faces) * point.size**2 / 1e6

    def test_one_thing_changes_in_a_sweep(self, points: list[Point]) -> None:
        assert len(points) == 2 * (6 + 6) + 5  # no training step looks for faces
        swept: dict[tuple[str, str], list[Load]] = {}
        for p in points:
            swept.setdefault((p.sweep, p.task), []).append(Load(p.batch, p.size, p.faces, p.photo))
        for task in ("training step", "prediction"):
            assert swept["batch", task] == [Load(n, 448) for n in (1, 2, 4, 8, 16, 32)]
            assert swept["size", task] == [Load(4, n) for n in (224, 320, 448, 640, 832, 1024)]
        assert swept["faces", "prediction"] == [Load(1, 448, n, photo=1024) for n in (1, 2, 4, 8, 16)]

    @pytest.mark.parametrize(
        ("task", "load", "passes"),
        [
            ("training step", Load(2, 448), 6),
            ("prediction", Load(2, 448), 2),
            ("prediction", Load(1, 448, 8, 1024), 17),
        ],
    )
    def test_the_limit_counts_every_pass(
        self, monkeypatch: pytest.MonkeyPatch, task: str, load: Load, passes: int
    ) -> None:
        monkeypatch.setattr(benchmarks.scaling, "peak_memory", lambda prepare, device: 7.0)
        point = Point(**dataclasses.asdict(load), sweep="", task=task)
        measured = benchmarks.scaling._measure_point(point, lambda *_: lambda: None, tiny_bench(), memory=8)
        # 8.01 G multiply-adds a pass, at 50 GFLOP/s
        assert measured.limit == pytest.approx(passes * 2 * 8.01 / 50, rel=1e-3)
        assert (measured.memory, measured.skipped) == (7.0, "")

    def test_points_beyond_the_memory_are_left_out(self, points: list[Point]) -> None:
        for point in points:
            megapixels = self.megapixels(point)
            assert (point.seconds is None) == (megapixels > 2)
            assert point.skipped == (f"would take about {1000 * megapixels:.0f} MiB of the 2000 allowed"
                                     if megapixels > 2 else "")  # fmt: skip

    def test_points_beyond_the_time_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points = self.measure(monkeypatch, seconds=3, memory=1e6)
        skipped = {(p.batch, p.size, p.faces): p.skipped for p in points if p.skipped}
        assert skipped == {
            (16, 448, 0): "would take about 3 s of the 3 allowed",
            (32, 448, 0): "would take about 6 s of the 3 allowed",
            (4, 1024, 0): "would take about 4 s of the 3 allowed",
            (1, 448, 8): "would take about 3 s of the 3 allowed",
            (1, 448, 16): "would take about 7 s of the 3 allowed",
        }

    def test_after_one_that_ran_out_of_memory_none_is_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(benchmarks.scaling.SWEEPS, "batch", [Load(batch, 448) for batch in (32, 64, 1)])
        points = [p for p in self.measure(monkeypatch, seconds=60, memory=1e6) if p.sweep == "batch"]
        not_tried = ["not tried: a smaller one ran out of memory"] * 2
        assert [p.skipped for p in points] == ["ran out of memory", *not_tried] * 2

    @pytest.mark.parametrize("error", [BrokenProcessPool("killed"), torch.cuda.OutOfMemoryError("too much")])
    def test_a_call_that_runs_out_of_memory_is_left_out(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(prepare: object, device: object) -> float:
            raise error

        monkeypatch.setattr(benchmarks.scaling, "peak_memory", fail)
        point = Point(batch=32, size=448, sweep="batch", task="prediction")
        measured = benchmarks.scaling._measure_point(point, lambda *_: pytest.fail("called"), tiny_bench(), memory=8)
        assert measured == dataclasses.replace(point, skipped="ran out of memory")

    def test_plot(self, points: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        figures, save = [], Figure.savefig
        monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k)))
        results = describe(Bench(CPU, RATES), []) | {"dtype": "float32", "points": [vars(point) for point in points]}
        benchmarks.scaling.draw(results, tmp_path / "scaling.png")
        height, width, _ = imread(tmp_path / "scaling.png").shape
        assert min(height, width) > 600
        panels = figures[0].axes
        assert [panel.get_xlabel() for panel in panels[:3]] == [
            "images in a batch, at 448 pixels",
            "side of an image in pixels, 4 at a time",
            "faces found in a photo of 1024 pixels, each at 448",
        ]
        # More than four faces are beyond the memory.
        assert panels[5].lines[1].get_xydata().tolist() == [
            [n, pytest.approx(1000 * 448**2 / 1e6 * (1 + 2 * n))] for n in (1, 2, 4)
        ]

    def test_files(self) -> None:
        settings, quick = benchmarks.scaling.Settings(), benchmarks.scaling.Settings(quick=True)
        assert settings.path(None, "docs/results/scaling.png", CPU) == Path("docs/results/scaling.png")
        assert settings.path(None, "docs/results/scaling.png", CUDA) == Path("docs/scaling-cuda.png")
        assert settings.path("mine.png", "docs/results/scaling.png", CUDA) == Path("mine.png")
        assert quick.path(None, "docs/results/scaling.png", CPU) is None  # it replaces nothing
        assert quick.path("mine.png", "docs/results/scaling.png", CPU) == Path("mine.png")

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("plot=scaling", r"plot is 'scaling': end it in \.png"),
            ("plot=a.jepg", r"plot is 'a\.jepg': end it in \.png"),
        ],
    )
    def test_a_plot_that_cannot_be_drawn_is_named(self, argument: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            parse_cli(benchmarks.scaling.Settings, [argument], program="", about="")

    @pytest.mark.parametrize("setting", ["out", "plot"])
    def test_files_that_cannot_be_written_are_told_before_measuring(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
    ) -> None:
        monkeypatch.setattr(benchmarks.scaling, "measure_rates", lambda *_, **__: pytest.fail("measured"))
        (tmp_path / "folder.png").mkdir()
        with pytest.raises(ConfigError, match=f"{setting} is '.*folder.png': that is a folder"):
            benchmarks.scaling.main(["quick=true", "device=cpu", f"{setting}={tmp_path / 'folder.png'}"])

    def test_a_system_that_does_not_say_its_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        want = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB / 2
        assert benchmarks.scaling.half_of_memory(CPU) == want
        monkeypatch.setattr(os, "sysconf", lambda name: int(name))  # as of a name that is not known: ValueError
        with pytest.raises(ConfigError, match="give memory=MiB"):
            benchmarks.scaling.half_of_memory(CPU)
        monkeypatch.delattr(os, "sysconf")  # Windows
        with pytest.raises(ConfigError, match="give memory=MiB"):
            benchmarks.scaling.half_of_memory(CPU)

"""Comparisons of runs with hand-worked numbers, and a real multirun that ends in one."""

import csv
import json
import re
import weakref
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import torch
from helpers.networks import Toy
from helpers.wandb_files import read_run
from hydra.core.utils import JobStatus
from runs import AT_EXIT

from facekp.classes import CELEBAMASK_HQ
from facekp.compare import plots, report
from facekp.compare.__main__ import main
from facekp.compare.callback import CompareSweep
from facekp.compare.report import compare
from facekp.errors import ConfigError, DataError
from facekp.models.registry import NETWORKS

DASH = "–"  # noqa: RUF001
FILES = {
    *(f"comparison-{name}.svg" for name in ("classes", "steps", "time")),
    *(f"comparison.{kind}" for kind in ("csv", "html", "md")),
}


def write_run(folder, curve, model="resnet18", seed=0, machine="a", **settings):
    """Write what a finished run leaves; `optim__lr=0.1` sets optim.lr.

    A point of its curve is step, seconds, training loss, validation loss and mIoU.
    """
    points = [
        {"step": s, "seconds": t, "train_loss": train, "loss": loss, "miou": miou, "mean_f1": miou + 0.1,
         "pixel_accuracy": 0.9} for s, t, train, loss, miou in curve
    ]  # fmt: skip
    scores = [p | {"f1": {name: p["miou"] for name in CELEBAMASK_HQ.names}, "iou": {}} for p in points]
    chosen = {"model": {"name": model}, "seed": seed, "trainer": {"max_steps": 300}}
    for name, value in settings.items():
        group, _, key = name.partition("__")
        chosen.update({group: value} if not key else {group: {**chosen.get(group, {}), key: value}})
    summary = {
        "steps": points[-1]["step"],
        "seconds": points[-1]["seconds"],
        "train": {"loss": points[-1]["train_loss"]},
        "val": {"best": max(scores, key=lambda p: p["miou"]), "last": scores[-1], "curve": points},
        "cost": {"parameters": 12_000_000, "multiply_adds": 8e9, "images_per_second": 4.0, "peak_memory": 900.0},
        "settings": chosen,
        "machine": machine,
        "precision": "32-true",
        "versions": {"torch": "2", "facekp": "0"},
    }
    (folder / ".hydra").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(summary), encoding="utf-8")


def write_unfinished(folder, text, error="", model="resnet18"):
    """Write what a run leaves that has not finished: settings, a metrics.csv, and perhaps an error."""
    (folder / ".hydra").mkdir(parents=True)
    own = f"model: {{name: {model}}}\nseed: 0\ntrainer: {{max_steps: 300}}\noutput_dir: ${{hydra:runtime.output_dir}}\n"
    (folder / ".hydra" / "config.yaml").write_text(own, encoding="utf-8")
    (folder / "metrics.csv").write_text(text, encoding="utf-8")
    if error:
        (folder / "error.txt").write_text(error, encoding="utf-8")


def read_tables(text):
    """Read a comparison.md: by title, a dict for every line of the table."""
    tables = {}
    for part in text.split("\n## ")[1:]:
        title, *rest = part.splitlines()
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in rest if line.startswith("|")]
        if not lines:  # the plots
            continue
        header, _, *rows = [[cell.strip() for cell in line] for line in lines]
        tables[title] = [dict(zip(header, row, strict=True)) for row in rows]
    return tables


@pytest.fixture(autouse=True)
def _undrawn(request):
    """Leave the plots out where a test does not ask for them."""
    if "drawn" not in request.fixturenames:
        request.getfixturevalue("undrawn")


@pytest.fixture
def drawn(monkeypatch):
    """Return the figures that a comparison draws, by name; they are put on the page all the same."""
    figures, write = {}, plots._plot
    monkeypatch.setattr(plots, "_plot", lambda name, *given: figures.update({name: given[-1]}) or write(name, *given))
    return figures


@pytest.fixture
def tables(tmp_path):
    """Return a function that compares runs and returns the tables of comparison.md."""

    def run(*paths, target=None):
        compare(paths, tmp_path / "out", target)
        return read_tables((tmp_path / "out" / "comparison.md").read_text(encoding="utf-8"))

    return run


@pytest.fixture
def four(tmp_path):
    """A sweep of two networks: three seeds of a quick one, and one of a slow one that ends behind."""
    sweep = tmp_path / "sweep"
    write_run(sweep / "0-resnet18", [(100, 60, 4.0, 3.0, 0.42), (200, 120, 3.0, 3.2, 0.50)], seed=0)
    write_run(sweep / "1-resnet18", [(100, 70, 4.1, 3.3, 0.40), (200, 140, 3.3, 3.1, 0.53)], seed=1)
    write_run(sweep / "2-resnet18", [(100, 80, 4.2, 3.4, 0.30), (200, 160, 3.6, 3.0, 0.56)], seed=2)
    slow = [(50, 100, 5.0, 4.0, 0.20), (100, 200, 3.5, 3.6, 0.46), (200, 400, 3.7, 3.9, 0.44)]
    write_run(sweep / "3-residual_attention", slow, "residual_attention")
    return sweep


def test_seeds_are_one_row_with_mean_and_sample_deviation_also_of_best_and_last(four, tables):
    found = tables(four)
    first, second = found["Best checkpoints"]
    assert (first["#"], first["run"], first["status"], first["seeds"]) == ("1", "resnet18", "finished", "0, 1, 2")
    # 0.50, 0.53, 0.56: mean 0.53, deviations -0.03, 0, 0.03: sqrt(0.0018 / 2) = 0.03. Losses 3.2, 3.1, 3.0.
    assert (first["mIoU"], first["mean F1"], first["step"]) == ("0.530 ± 0.030", "0.630 ± 0.030", "200")
    assert (first["loss"], first["training loss"]) == ("3.100 ± 0.100", "3.300 ± 0.300")
    # The best checkpoint of the other is not its last.
    assert (second["#"], second["run"], second["mIoU"]) == ("2", "residual_attention", "0.460")
    assert (second["step"], second["loss"], second["training loss"]) == ("100", "3.600", "3.500")
    resnet, other = found["Best and last"]
    assert other == {
        "run": "residual_attention",
        "training loss, best": "3.500", "training loss, last": "3.700",
        "validation loss, best": "3.600", "validation loss, last": "3.900",
        "mIoU, best": "0.460", "mIoU, last": "0.440", "mean F1, best": "0.560", "mean F1, last": "0.540",
    }  # fmt: skip
    # Lowest losses 3.0, 3.1, 3.0: mean 3.0333, deviation sqrt((2 * 0.0333^2 + 0.0667^2) / 2) = 0.0577.
    assert resnet["validation loss, best"] == "3.033 ± 0.058"


def test_time_and_steps_to_a_miou(four, tables):
    resnet, other = tables(four, target=0.42)["Cost"]
    # Reached at 60, 140 and 160 s: mean 120, deviations -60, 20, 40: sqrt(5600 / 2) = 52.9.
    assert resnet["time to mIoU 0.42"] == "2 min 00 s ± 53 s"
    # Steps 100, 200, 200: mean 166.7, deviation sqrt((66.7^2 + 2 * 33.3^2) / 2) = 57.7.
    assert resnet["steps to mIoU 0.42"] == "167 ± 58"
    assert (other["time to mIoU 0.42"], other["steps to mIoU 0.42"]) == ("3 min 20 s", "100")
    assert (other["parameters, M"], other["multiply-adds, G"]) == ("12.00", "8.00")
    assert (other["images/s"], other["peak memory, MiB"], other["wall time"]) == ("4.0", "900", "6 min 40 s")
    # By default what all have reached, 0.46, rounded down to 0.05.
    assert "time to mIoU 0.45" in tables(four)["Cost"][0]
    # 0.51 is reached by two of the three seeds, and not by the other network.
    assert [row["time to mIoU 0.51"] for row in tables(four, target=0.51)["Cost"]] == [DASH, DASH]


def test_equal_wall_time_is_that_of_the_shortest_finished_run(four, tables):
    write_unfinished(four / "4-bisenet", "step,seconds,val/miou\n", model="bisenet")
    resnet, other, stopped = tables(four)["At equal wall time"]
    # At 120 s: 0.50 at 200 steps; of the slower seeds 5/7 of the way from 0.40 to 0.53, 0.49286 at 171.4 steps, and
    # half of it from 0.30 to 0.56, 0.43 at 150. Deviations of mIoU 0.0257, 0.0186, -0.0443: sqrt(0.002967 / 2) = 0.039.
    assert (resnet["mIoU"], resnet["step"]) == ("0.474 ± 0.039", "174 ± 25")
    # A fifth of the way from 0.20 to 0.46, from 50 steps to 100, from loss 4.0 to 3.6.
    assert (other["mIoU"], other["step"], other["loss"]) == ("0.252", "60", "3.920")
    assert stopped["mIoU"] == DASH
    text = compare([four], four)
    assert "At equal wall time (2 min 00 s, that of the shortest run): resnet18 with 0.474 ± 0.039, 0.222 above" in text


class TestVerdict:
    def seeds(self, folder, model, scores, **settings):
        for seed, miou in enumerate(scores):
            write_run(folder / f"{model}-{seed}", [(100, 60, 3.0, 3.0, miou)], model, seed, **settings)

    # Deviations of 0.0141 each (values 0.02 apart), pooled 0.0141 with 2 degrees of freedom: Student's t is 4.303, and
    # sqrt(1/2 + 1/2) = 1, so that a lead of less than 0.061 may be chance.
    @pytest.mark.parametrize(
        ("second", "lead", "said"), [((0.50, 0.52), "0.100", "larger."), ((0.55, 0.57), "0.050", "smaller, so")]
    )
    def test_a_lead_is_held_against_the_spread_over_seeds(self, second, lead, said, tmp_path):
        self.seeds(tmp_path, "a", (0.60, 0.62))
        self.seeds(tmp_path, "b", second)
        text = compare([tmp_path], tmp_path)
        assert f"Best mIoU: a with 0.610 ± 0.014, {lead} above b (" in text
        assert "standard deviation of mIoU is 0.0141, pooled over 4 runs: a lead of less than 0.061 may" in text
        assert f"this one is {said}" in text

    @pytest.mark.parametrize(
        ("scores", "said"),
        [
            ((0.60, 0.50), "One seed each: seed-to-seed noise was not measured."),
            ((0.6001, 0.6004, 0.4), "Best mIoU: a tie at 0.600, b, a.\n"),
        ],
    )
    def test_one_seed_each_says_that_chance_is_not_known_and_a_tie_names_all_of_it(self, scores, said, tmp_path):
        for name, score in zip("abc", scores, strict=False):
            self.seeds(tmp_path, name, (score,))
        assert said in compare([tmp_path], tmp_path)

    def test_what_cannot_be_compared_is_said(self, tmp_path):
        self.seeds(tmp_path, "a", (0.6,), machine="one", trainer__max_steps=100, data__decoded="ram")
        self.seeds(tmp_path, "b", (0.5,), machine="two", trainer__max_steps=50, data__decoded="none", init="shipped")
        compare([tmp_path], tmp_path)
        warned = [s for s in (tmp_path / "comparison.md").read_text(encoding="utf-8").splitlines() if s[:2] == "> "]
        assert warned == [
            "> Different machine: do not compare speed, memory and times. one (a-0); two (b-0).",
            "> Different trainer.max_steps: do not compare scores as if the budget were the same. 100 (a-0); 50 (b-0).",
            "> Different init: do not compare scores as if the initial weights were equal. null (a-0); shipped (b-0).",
            "> Different data.decoded: do not compare speed and memory. ram (a-0); none (b-0).",
        ]


CURVE = ((100, 60.0, 3.0, 3.0, 0.5),)


class TestSettings:
    def test_only_those_that_differ_and_matter_are_shown(self, tmp_path, tables):
        write_run(tmp_path / "0", CURVE, optim__lr=0.1, data__crop=64, logger__run_name="x", data__workers=1)
        write_run(tmp_path / "1", CURVE, "smp", optim__lr=0.1, data__crop=64, data__workers=2, model__arch="Unet")
        assert tables(tmp_path)["Settings that differ"] == [
            {"folder or file": "0", "model.name": "resnet18", "model.arch": DASH},
            {"folder or file": "1", "model.name": "smp", "model.arch": "Unet"},
        ]

    def test_a_setting_that_an_older_version_had_not_is_at_its_default(self, tmp_path, tables):
        write_run(tmp_path / "old", CURVE)
        write_run(tmp_path / "new", CURVE, seed=1, optim__momentum=0.9, trainer__compile=False)
        (row,) = tables(tmp_path / "old", tmp_path / "new")["Best checkpoints"]
        assert (row["run"], row["seeds"]) == ("resnet18", "0, 1")

    def test_rows_are_named_by_what_sets_them_apart(self, tmp_path, tables):
        write_run(tmp_path / "0", CURVE, optim__lr=0.1)
        write_run(tmp_path / "1", CURVE, "smp", optim__lr=0.1, model__arch="FPN")
        write_run(tmp_path / "2", CURVE, optim__lr=10.0)
        names = [row["run"] for row in tables(tmp_path)["Best checkpoints"]]
        assert names == ["resnet18 lr=0.1", "smp FPN lr=0.1", "resnet18 lr=10"]

    def test_the_same_seed_again_is_no_other_sample_and_jobs_come_by_number(self, tmp_path, tables):
        for number in (10, 9, 0):
            write_run(tmp_path / f"{number}-x", CURVE)
        rows = tables(tmp_path)["Best checkpoints"]
        assert [(row["run"], row["seeds"]) for row in rows] == [("0-x", "0"), ("9-x", "0"), ("10-x", "0")]
        assert [row["folder or file"] for row in tables(tmp_path)["Every run"]] == ["0-x", "9-x", "10-x"]


class TestUnfinished:
    ROWS = (
        "step,seconds,train/loss,val/loss,val/miou,val/mean_f1,val/pixel_accuracy,train/images_per_second\n"
        "100,50,4.0,3.5,0.9,0.95,0.9,2.0\n150,75,3.0,,,,,4.0\n"
    )

    def test_they_are_shown_but_not_ranked_and_not_in_means(self, four, tables):
        write_unfinished(four / "4-bisenet", self.ROWS, model="bisenet")
        write_unfinished(four / "5-bisenet", self.ROWS, "RuntimeError: out of memory | at | once", model="smp")
        write_unfinished(four / "6-bisenet", "", "optim.lr is -1: give a number above 0", model="wrong")
        found = tables(four)
        ranked = {row["run"]: (row["#"], row["status"], row["mIoU"]) for row in found["Best checkpoints"]}
        assert ranked == {
            "resnet18": ("1", "finished", "0.530 ± 0.030"),
            "residual_attention": ("2", "finished", "0.460"),
            "bisenet": (DASH, "unfinished at step 150 of 300", "0.900"),
            "smp": (DASH, "failed at step 150 of 300", "0.900"),
            "wrong": (DASH, "failed at step 0 of 300", DASH),
        }
        errors = {row["folder or file"]: row["error of its last start"] for row in found["Every run"]}
        assert {run: error for run, error in errors.items() if error} == {
            "5-bisenet": "RuntimeError: out of memory \\| at \\| once",
            "6-bisenet": "optim.lr is -1: give a number above 0",
        }
        cost = {row["run"]: row for row in found["Cost"]}["bisenet"]
        assert (cost["images/s"], cost["wall time"]) == ("3.0", "1 min 15 s")  # median of 2 and 4
        # The mean of the two losses logged in the 100 steps up to step 150.
        assert {row["run"]: row["training loss, last"] for row in found["Best and last"]}["bisenet"] == "3.500"

    def test_a_seed_that_failed_is_left_out_of_its_rows_mean(self, tmp_path, tables):
        for seed, miou in enumerate((0.5, 0.6)):
            write_run(tmp_path / str(seed), [(300, 60, 3.0, 3.0, miou)], seed=seed, trainer__max_steps=300)
        write_unfinished(tmp_path / "2", self.ROWS, "killed")
        config = tmp_path / "2" / ".hydra" / "config.yaml"
        config.write_text(config.read_text(encoding="utf-8").replace("seed: 0", "seed: 2"), encoding="utf-8")
        (row,) = tables(tmp_path)["Best checkpoints"]
        assert (row["status"], row["seeds"], row["mIoU"]) == ("2 finished, 1 failed", "0, 1", "0.550 ± 0.071")

    @pytest.mark.parametrize("nan", [None, float("nan")])  # older files have null
    def test_a_run_that_diverged_is_compared_and_leaves_its_row_without_a_mean(self, tmp_path, tables, nan):
        diverged = [(100, 60, 4.0, 4.0, 0.1), (200, 120, nan, nan, 0.05)]
        write_run(tmp_path / "0", diverged, optim__lr=3.0)
        write_run(tmp_path / "1", [(100, 60, 4.0, 4.0, 0.3), (200, 120, 3.0, 3.0, 0.4)], optim__lr=0.1)
        write_run(tmp_path / "2", diverged, optim__lr=0.1, seed=1)
        both, alone = tables(tmp_path)["Best and last"]
        assert (alone["run"], alone["validation loss, best"], alone["validation loss, last"]) == ("lr=3", "4.000", DASH)
        assert (both["run"], both["training loss, last"], both["mIoU, best"]) == ("lr=0.1", DASH, "0.250 ± 0.212")


class TestFiles:
    def test_csv_has_a_line_for_every_run_in_full_precision(self, four):
        write_unfinished(four / "4-bisenet", TestUnfinished.ROWS, "boom", model="bisenet")
        compare([four], four)
        with (four / "comparison.csv").open(newline="", encoding="utf-8") as file:
            lines = {line["run"]: line for line in csv.DictReader(file)}
        assert list(lines) == ["0-resnet18", "1-resnet18", "2-resnet18", "3-residual_attention", "4-bisenet"]
        assert [line["row"] for line in lines.values()].count("resnet18") == 3
        second = lines["1-resnet18"]
        assert (second["seed"], second["status"], second["steps"]) == ("1", "finished", "200")
        assert {name: float(second[name]) for name in ("best.miou", "last.loss", "top.train_loss", "seconds")} == {
            "best.miou": 0.53, "last.loss": 3.1, "top.train_loss": 3.3, "seconds": 140.0}  # fmt: skip
        assert float(second["best.f1.nose"]) == 0.53
        assert (lines["4-bisenet"]["error"], lines["4-bisenet"]["cost.parameters"]) == ("boom", "")

    @pytest.mark.slow
    @pytest.mark.usefixtures("drawn")
    def test_other_programs_files_are_not_replaced(self, four, monkeypatch):
        draw, kept = report.draw_plots, []
        monkeypatch.setattr(report, "draw_plots", lambda *given: kept.extend([] if kept else draw(*given)) or kept)
        for _ in range(2):  # its own are
            compare([four], four)
        for name in FILES:
            (four / name).write_text("theirs")
        with pytest.raises(DataError, match=r"comparison.* and \d more: would be replaced"):
            compare([four], four)
        assert {(four / name).read_text() for name in FILES} == {"theirs"}
        main([str(four), "overwrite=true"])
        assert "theirs" not in {(four / name).read_text() for name in FILES}

    @pytest.mark.slow
    @pytest.mark.usefixtures("drawn")
    def test_the_page_needs_nothing_else_and_the_same_runs_give_the_same_files(self, four, tmp_path):
        write_run(four / "9-x", CURVE, "<b>", optim__lr=1.0)
        first, second = tmp_path / "one", tmp_path / "two"
        for out in (first, second):
            compare([four], out)
        assert {path.name for path in first.iterdir()} == FILES
        assert all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)
        page = (first / "comparison.html").read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|img|iframe)\b|url\((?!#)|@import", page)
        assert {found.split("/")[2] for found in re.findall(r"https?://[^\s\"]+", page)} == {"www.w3.org"}
        assert "<b>" not in page
        pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        assert len(pictures) == 3
        ids = re.findall(r'\bid="([^"]+)"', "".join(pictures))
        assert len(ids) == len(set(ids))
        for picture in pictures:
            texts = [e.text for e in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
            assert {"resnet18", "residual_attention"} <= {text.partition(" lr")[0] for text in texts if text}
        shown = re.findall(r"!\[.+\]\((.+)\)", (first / "comparison.md").read_text(encoding="utf-8"))
        assert shown == [f"comparison-{name}.svg" for name in ("steps", "time", "classes")]
        # The plots are files too, and on white in both: legible on a dark page.
        for name, picture in zip(shown, pictures, strict=True):
            assert (first / name).read_text(encoding="utf-8").strip() == picture
            assert "fill: #ffffff" in picture


@pytest.mark.slow
def test_seeds_are_averaged_where_all_have_a_value(tmp_path, drawn):
    # One was validated less often, and has no training loss.
    write_run(tmp_path / "0", [(100, 50, 4.0, 4.0, 0.2), (200, 100, 3.0, 3.0, 0.5)])
    write_run(tmp_path / "1", [(200, 120, None, 3.0, 0.3)], seed=1)
    compare([tmp_path], tmp_path)
    panels = {axes.get_title(): axes.lines for axes in drawn["steps"].axes}
    (mean,) = [line for line in panels["mIoU"] if not line.get_label().startswith("_")]
    assert (list(mean.get_xdata()), list(mean.get_ydata())) == ([200], [0.4])
    assert [len(line.get_xdata()) for line in panels["training loss"]] == [2, 0]  # an empty mean


@pytest.mark.slow
def test_plots_show_means_of_seeds_and_every_class(four, drawn):
    compare([four], four)
    for name, x in (
        ("steps", ([100, 200], [50, 100, 200])),
        ("time", ([70 / 60, 140 / 60], [100 / 60, 200 / 60, 400 / 60])),
    ):
        panel = next(axes for axes in drawn[name].axes if axes.get_title() == "mIoU")
        lines = {line.get_label(): line for line in panel.lines if not line.get_label().startswith("_")}
        assert list(lines["resnet18"].get_xdata()) == pytest.approx(x[0])
        assert list(lines["resnet18"].get_ydata()) == pytest.approx([(0.42 + 0.40 + 0.30) / 3, 0.53])
        assert list(lines["residual_attention"].get_xdata()) == pytest.approx(x[1])
        assert len(panel.lines) == 5  # two thick, three thin
    assert [axes.get_title() for axes in drawn["steps"].axes] == ["training loss", "validation loss", "mIoU", "mean F1"]
    (panel,) = drawn["classes"].axes
    assert [label.get_text() for label in panel.get_xticklabels()] == list(CELEBAMASK_HQ.names[1:])
    assert [[bar.get_height() for bar in group] for group in panel.containers[:3] if hasattr(group, "patches")] == [
        pytest.approx([0.53] * 18), pytest.approx([0.46] * 18)]  # fmt: skip


def test_a_failed_jobs_memory_is_given_back(tmp_path):
    # Hydra keeps the error of a job to the end of the sweep, and an error its frames: they held a GPU's memory.
    held = []

    def job():
        network = torch.nn.Identity()
        held.append(weakref.ref(network))
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise RuntimeError("boom") from cause

    try:
        job()
    except RuntimeError as error:
        done = SimpleNamespace(status=JobStatus.FAILED, _return_value=error)
    assert held[0]() is not None
    (tmp_path / ".hydra").mkdir()
    place = SimpleNamespace(hydra=SimpleNamespace(runtime=SimpleNamespace(output_dir=str(tmp_path))))
    CompareSweep().on_job_end(place, done)
    assert held[0]() is None
    assert (tmp_path / "error.txt").read_text() == "RuntimeError: boom\n"


class TestCommand:
    def test_files_go_to_the_folder_that_is_named(self, four, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        main([str(four)])
        main([str(four / "0-resnet18"), str(four / "3-residual_attention" / "metrics.json")])
        main([str(four), f"out={tmp_path}/named", "target=0.3"])
        assert capsys.readouterr().out.rstrip().endswith(f"comparison: {tmp_path}/named/comparison.html")
        pages = [Path(folder, "comparison.md") for folder in (four, "comparison", "named")]
        assert ["time to mIoU 0.3 " in page.read_text(encoding="utf-8") for page in pages] == [False, False, True]

    def test_a_missing_run_beside_others_is_shown_as_such(self, four, tables):
        found = tables(four / "0-resnet18", four / "nowhere")["Every run"]
        assert [(row["folder or file"], row["status"]) for row in found] == [
            ("0-resnet18", "finished"), ("nowhere", "missing")]  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "kind", "message"),
        [
            ([], ConfigError, "no run is given: give run folders"),
            (["nowhere"], ConfigError, "no run in '.*nowhere': give run folders"),
            (["scores.json"], DataError, "file '.*scores.json': not a run's summary; give the metrics.json that train"),
            (["nowhere", "target=2"], ConfigError, "target is 2.0: give a number above 0, up to 1, or null"),
            (["nowhere", "taget=0.2"], ConfigError, "taget"),
        ],
    )
    def test_what_is_wrong_is_named(self, arguments, kind, message, tmp_path, monkeypatch):
        (tmp_path / "scores.json").write_text('{"loss": 1.0, "miou": 0.5}', encoding="utf-8")  # facekp.evaluate's
        monkeypatch.chdir(tmp_path)
        with pytest.raises(kind, match=message):
            main(arguments)


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
def test_a_multirun_ends_in_the_files_and_a_table_and_has_one_wandb_group(train_py, tmp_path, capfd):
    """Two seeds of a good learning rate and of a bad one, logged to W&B offline."""
    NETWORKS.register("toy")(Toy)
    folder = tmp_path / "a-sweep"
    arguments = [
        "model.name=toy", "optim.lr=0.01,-1", "seed=0,1", "trainer.max_steps=2", "logger=wandb",
        "logger.offline=true", "logger.images=0", f"hydra.sweep.dir={folder}", "-m",
    ]  # fmt: skip
    train_py(*arguments, cwd=tmp_path, ends=2)
    AT_EXIT.pop()()
    said = capfd.readouterr()
    assert {path.name for path in folder.glob("comparison*")} == FILES
    best = [json.loads((folder / f"{i}-toy/metrics.json").read_text())["val"]["best"]["miou"] for i in (0, 1)]
    found = read_tables((folder / "comparison.md").read_text(encoding="utf-8"))
    good, bad = found["Best checkpoints"]
    assert (good["run"], good["status"], good["seeds"]) == ("lr=0.01", "finished", "0, 1")
    assert float(good["mIoU"].split()[0]) == pytest.approx(sum(best) / 2, abs=6e-4)
    assert (bad["run"], bad["status"], bad["mIoU"]) == ("lr=-1", "2 failed", DASH)
    errors = {row["folder or file"]: row["error of its last start"] for row in found["Every run"]}
    wrong = "optim.lr is -1.0: give a number above 0"
    assert errors == {"0-toy": "", "1-toy": "", "2-toy": wrong, "3-toy": wrong}
    assert "lr=0.01  finished" in said.out
    assert f"comparison: {folder}/comparison.html" in said.out
    # The sweep has failed all the same, in one line.
    assert said.err.count(wrong) == 1
    assert "Traceback" not in said.err
    files = sorted(folder.glob("*/wandb/offline-run-*/*.wandb"))
    started = [next(r.run for r in read_run(file) if r.HasField("run")) for file in files]
    assert {run.run_group for run in started} == {"a-sweep"}
    assert sorted(run.display_name for run in started) == ["optim.lr=0.01,seed=0", "optim.lr=0.01,seed=1"]

"""The predict command: exit status, one line on stderr, nothing left behind; on one and on several devices."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image
from torch.multiprocessing.spawn import ProcessExitedException

from facekp.errors import one_line_errors
from facekp.parsing.parser import FaceParser
from facekp.predict import multi_device
from facekp.predict.__main__ import main
from facekp.predict.pipeline import list_jobs, parse_files
from facekp.predict.results import Results

EVERYTHING = "export=[mask,overlay,json,svg,labelme,coco,csv]"
EARLY = """
import sys
from facekp.errors import one_line_errors
from facekp.predict.__main__ import main
for arguments in (["--help"], ["out=x"], ["source=x", "out=x", "keypoint.n=3"], ["source=x", "out=x", "export=[png]"],
                  ["source=x", "out=x", "one_euro.beta=-1"], ["source=nowhere.jpg", "out=x"]):
    try:
        with one_line_errors():
            main(arguments)
    except SystemExit as end:
        print(end.code, file=sys.stderr)
heavy = {"torch", "onnxruntime", "openvino", "pytorch_lightning", "matplotlib", "av"} & set(sys.modules)
print("imported:", sorted(heavy), file=sys.stderr)
"""


def run(*arguments):
    """Run the command in this process, and return its exit status."""
    try:
        with one_line_errors():
            return main(list(arguments))
    except SystemExit as end:
        return end.code


def noise(path, seed=0, size=(80, 100)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Return a folder of five photos and two files that are none."""
    (folder := tmp_path / "photos").mkdir()
    for i in range(5):
        noise(folder / f"{i}.png", i, (64, 96))
    for name in ("a.jpg", "b.jpg"):  # one for either of two processes
        (folder / name).write_bytes(b"no picture")
    return folder


def test_mistakes_are_reported_before_torch_is_imported():
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("python predict.py key=value ...")
    assert "labelme/NAME.json" in done.stdout
    zero, *lines, imported = done.stderr.splitlines()
    assert (zero, imported) == ("0", "imported: []")
    assert lines[1::2] == ["2"] * 5
    expected = [
        "source is not set: give source=...",
        "no setting is called 'keypoint.n': did you mean 'keypoints.n'?",
        "export is ['png']: give a list, each coco, csv, ",
        "one_euro.beta is -1.0: give at least 0",
        "source 'nowhere.jpg': no such file",
    ]
    for line, message in zip(lines[::2], expected, strict=True):
        assert line.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ckpt": "README.md"}, ["checkpoint 'README.md'", "train.py wrote"]),
        ({"ckpt": "README.md", "devices": "2"}, ["checkpoint 'README.md'", "train.py wrote"]),
        ({"out": "README.md/out"}, ["'README.md/out'", "give another folder"]),
        ({"device": "cuda:9", "devices": "2"}, ["device is 'cuda:9' and devices is 2", "take device=cuda or cpu"]),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(checkpoint, photos, tmp_path, monkeypatch, capsys, change, words):
    monkeypatch.chdir(REPOSITORY)
    settings = {"ckpt": str(checkpoint), "source": str(photos), "out": str(tmp_path / "out")} | change
    assert run(*(f"{key}={value}" for key, value in settings.items())) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_every_photo_is_written_and_the_unreadable_one_reported(checkpoint, tmp_path):
    """As a user runs it, in a process of its own."""
    (photos := tmp_path / "photos").mkdir()
    noise(photos / "good.jpg")
    (photos / "truncated.jpg").write_bytes((photos / "good.jpg").read_bytes()[:600])
    arguments = [f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", "keypoints.n=7", "device=cpu"]
    command = [sys.executable, "predict.py", *arguments, "align=none"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "1 of 2 parsed" in done.stdout
    assert "truncated.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    names = ["good.json", "good.mask.png", "good.overlay.jpg"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    content = json.loads((tmp_path / "out" / "good.json").read_text())
    assert (content["width"], content["height"]) == (100, 80)
    assert {len(a["keypoints"]) for a in content["faces"][0]["attributes"]} == {7}


def test_results_beside_the_photos_are_not_parsed(checkpoint, tmp_path, capsys):
    noise(tmp_path / "photo.png")
    for _ in range(2):
        assert run(f"ckpt={checkpoint}", f"source={tmp_path}", f"out={tmp_path}", "device=cpu", EVERYTHING) == 0
        assert "1 of 1 parsed" in capsys.readouterr().out


def test_several_photos_take_one_thread_each_and_a_single_photo_takes_all(checkpoint, photos, tmp_path):
    parser = FaceParser.from_checkpoint(checkpoint, device="cpu")
    backend, threads = parser.stages.backend, []
    backend.streams, net = 2, backend.net
    backend.net = lambda images: threads.append(torch.get_num_threads()) or net(images)
    torch.set_num_threads(2)
    jobs = list_jobs(sorted(photos.glob("*.png")), tmp_path)
    for count in (1, 3):
        assert parse_files(parser, jobs[:count], Results(tmp_path, ["json"])) == []
    assert threads == [2, 1, 1, 1]
    assert torch.get_num_threads() == 2


@pytest.mark.slow
def test_two_processes_parse_every_photo_once_and_as_one_does(checkpoint, photos, tmp_path, capfd):
    for out, devices in (("one", 1), ("two", 2)):
        arguments = [f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / out}", f"devices={devices}"]
        assert run(*arguments, EVERYTHING, "align=none", "device=cpu") == 1
        printed = capfd.readouterr()
        assert printed.out.count("5 of 7 parsed") == 1
        assert "error: 2 skipped" in printed.err
    names = sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*.*"))
    assert len(names) == 5 * 5 + 2
    assert sorted(str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*.*")) == names
    images = json.loads((tmp_path / "one" / "annotations.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"{i}.png" for i in range(5)]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


class TestDevices:
    """Processes stood in for by calls in this one, one after the other."""

    @pytest.fixture
    def opened(self, monkeypatch):
        """Return the devices on which parsers were opened; each is the CPU."""
        opened, open_on_cpu = [], FaceParser.from_checkpoint

        def open_parser(ckpt, *, device, **settings):
            opened.append(device)
            return open_on_cpu(ckpt, device="cpu", **settings)

        def spawn(function, args, nprocs):
            for rank in range(nprocs):
                try:
                    function(rank, *args)
                except SystemExit as end:
                    raise ProcessExitedException("ended", rank, 1, end.code) from end

        monkeypatch.setattr(FaceParser, "from_checkpoint", open_parser)
        monkeypatch.setattr(multi_device, "spawn", spawn)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
        return opened

    def test_each_process_opens_one_parser_on_its_own_device_and_the_parent_none(
        self, opened, checkpoint, photos, tmp_path, capsys
    ):
        arguments = [f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", "devices=3"]
        assert run(*arguments, "align=none", "export=[json]") == 1
        assert opened == ["cuda:0", "cuda:1", "cuda:2"]
        assert "5 of 7 parsed" in capsys.readouterr().out
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{i}.json" for i in range(5)]

    def test_a_single_photo_needs_no_second_process(self, opened, checkpoint, tmp_path):
        photo = noise(tmp_path / "a.png")
        assert run(f"ckpt={checkpoint}", f"source={photo}", f"out={tmp_path / 'out'}", "devices=2") == 0
        assert opened == ["auto"]

    def test_the_error_of_a_process_is_that_of_the_run(self, opened, checkpoint, photos, tmp_path, capsys):
        (tmp_path / "out" / "4.json").mkdir(parents=True)
        arguments = [f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", "devices=2", "export=[json]"]
        assert run(*arguments) == 2
        assert "4.json': cannot be written" in capsys.readouterr().err.splitlines()[-1]

    def test_a_killed_process_is_reported(self, opened, checkpoint, photos, tmp_path, monkeypatch, capsys):
        def killed(*_, **__):
            raise ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 1, -9, "SIGKILL")

        monkeypatch.setattr(multi_device, "spawn", killed)
        assert run(f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", "devices=2") == 2
        assert "devices is 2: process 1 terminated with signal SIGKILL; take fewer" in capsys.readouterr().err

    def test_more_gpus_than_there_are_are_refused(self, opened, checkpoint, photos, tmp_path, capsys):
        assert run(f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", "devices=4") == 2
        assert "devices is 4, and this machine has 3 GPUs: take fewer" in capsys.readouterr().err
        assert opened == []

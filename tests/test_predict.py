"""The predict command: exit status, one line on stderr, nothing left behind; on one and on several devices."""

import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image

from facekp.errors import DataError, one_line_errors
from facekp.formats.base import FORMATS
from facekp.images import read_image
from facekp.parsing.parser import FaceParser, Stages
from facekp.predict import run as predicting
from facekp.predict.__main__ import main
from facekp.predict.merge import merge
from facekp.predict.pipeline import list_jobs, parse_files
from facekp.predict.results import Results
from facekp.predict.sources import find_images

EVERYTHING = "export=[mask,overlay,json,svg,labelme,coco,csv]"
EARLY = """
import sys
from facekp.errors import one_line_errors
from facekp.formats.base import FORMATS
from facekp.predict.__main__ import main
for arguments in (["--help"], ["out=x"], ["source=x", "out=x", "keypoint.n=3"], ["source=x", "out=x", "export=[png]"],
                  ["source=x", "out=x", "one_euro.beta=-1"], ["source=x", "out=x", "one_euro.min_cutoff=0"],
                  ["source=nowhere.jpg", "out=x"]):
    try:
        with one_line_errors():
            main(arguments)
    except SystemExit as end:
        print(end.code, file=sys.stderr)
heavy = {"torch", "onnxruntime", "openvino", "pytorch_lightning", "hydra", "matplotlib", "scipy", "av"}
print("imported:", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def run(*arguments):
    """Run the command in this process, and return its exit status."""
    try:
        with one_line_errors():
            return main(list(arguments))
    except SystemExit as end:
        return end.code


@pytest.fixture
def photos(tmp_path):
    """Return a folder of five photos and two files that are none."""
    (folder := tmp_path / "photos").mkdir()
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    for name in ("a.jpg", "b.jpg"):  # one for either of two processes
        (folder / name).write_bytes(b"no picture")
    return folder


def test_mistakes_are_reported_before_torch_is_imported():
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("facekp predict SOURCE OUT key=value ...")
    assert "labelme/NAME.json" in done.stdout
    zero, *lines, imported = done.stderr.splitlines()
    assert (zero, lines[1::2], imported) == ("0", ["2"] * 6, "imported: []")
    expected = [
        "source is not set: give source=...",
        "no setting is called 'keypoint.n': did you mean 'keypoints.n'?",
        "export is ['png']: give a list, each alpha, coco, csv, ",
        "one_euro.beta is -1.0: give at least 0",
        "one_euro.min_cutoff is 0.0: give a number above 0",
        "source 'nowhere.jpg': no such file",
    ]
    for line, message in zip(lines[::2], expected, strict=True):
        assert line.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["ckpt=README.md"], "checkpoint 'README.md': .*train.py wrote"),
        (["ckpt=README.md", "devices=2"], "checkpoint 'README.md': .*train.py wrote"),
        (["out=README.md/out"], "'README.md/out': .*give another folder"),
        (["regions=[hairs]", "export=[masks]"], "no region is called 'hairs': did you mean 'hair'"),
        (["export=[alpha]"], r"regions is \[\]: name those that export=\[alpha\] writes"),
        (["regions=[hair]"], r"export is \['mask', 'overlay', 'json'\]: add masks, alpha or cutout"),
        (["ids=none.yaml"], "ids is 'none.yaml': choose one of own, celebamask, zllrunning, lapa"),
        (["ids=lapa", "export=[json]"], r"export is \['json'\]: add mask, or drop ids="),
        (["feather=-1"], "feather is -1.0: give at least 0"),
        (["grow=nan"], "grow is nan: give a finite number"),
        (["device=cuda:9", "devices=2"], "device is 'cuda:9' and devices is 2: use device=cuda or cpu"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(checkpoint, photos, tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(REPOSITORY)
    assert run(f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", *change) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.match(f"error: {message}", line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_results_beside_the_photos_are_not_parsed(checkpoint, tmp_path, capsys):
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "photo.png")
    for _ in range(2):
        assert run(f"ckpt={checkpoint}", f"source={tmp_path}", f"out={tmp_path}", "device=cpu", EVERYTHING) == 0
        assert "1 of 1 parsed" in capsys.readouterr().out
    assert gc.isenabled()  # again


@pytest.mark.slow
def test_a_format_that_cannot_hold_one_photo_is_that_photos_failure(checkpoint, photos, tmp_path, monkeypatch, capsys):
    encode = FORMATS["overlay"].encode

    def refuse(self, photo, faces):
        if photo.stem.name == "2":
            raise OSError("encoder error -2")
        return encode(self, photo, faces)

    monkeypatch.setattr(FORMATS["overlay"], "encode", refuse)
    out = tmp_path / "out"
    assert run(f"ckpt={checkpoint}", f"source={photos}/*.png", f"out={out}", "device=cpu", EVERYTHING) == 1
    said = capsys.readouterr()
    assert "4 of 5 parsed" in said.out
    assert "2.png: 2.overlay.jpg of 96 x 64 pixels cannot be made (encoder error -2); reduce it, or leave" in said.err
    assert not list(out.glob("2.*"))
    assert len(json.loads((out / "annotations.json").read_text())["images"]) == 4


@pytest.mark.parametrize("stage", ["look", "trace"])
@pytest.mark.slow
def test_a_photo_too_large_for_the_memory_fails_alone(stage, checkpoint, photos, tmp_path, monkeypatch, capsys):
    usual, seen = getattr(Stages, stage), []

    def once_too_large(*arguments):
        seen.append(arguments)
        if len(seen) == 2:
            raise MemoryError
        return usual(*arguments)

    monkeypatch.setattr(Stages, stage, once_too_large)
    assert run(f"ckpt={checkpoint}", f"source={photos}/*.png", f"out={tmp_path / 'out'}", "device=cpu") == 1
    said = capsys.readouterr()
    assert "4 of 5 parsed" in said.out
    assert "memory does not suffice for it; free some, or reduce it" in said.err


def test_a_batch_too_large_for_the_memory_is_parsed_photo_by_photo(checkpoint, photos, tmp_path):
    parser = FaceParser.from_checkpoint(checkpoint, device="cpu")
    backend, seen = parser.stages.backend, []
    backend.batch, backend.streams, net = 4, 1, backend.net

    def small(images):
        seen.append(len(images))
        if seen in ([4], [4, 1, 1]):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return net(images)

    backend.net = small
    jobs = list_jobs(sorted(photos.glob("*.png")), tmp_path)
    (failure,) = parse_files(parser, jobs, Results(tmp_path, ["json"]))
    assert failure == f"image {jobs[1].path}: memory does not suffice for it; free some, or use device=cpu"
    assert seen == [4, 1, 1, 1, 1, 1]
    assert len(list(tmp_path.glob("*.json"))) == 4


@pytest.mark.slow
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
    settings = [f"ckpt={checkpoint}", f"source={photos}", "device=cpu", "align=none", "keypoints.n=7", EVERYTHING]
    for count in (1, 2):
        assert run(*settings, f"devices={count}", f"out={tmp_path / str(count)}") == 1
        out, err = capfd.readouterr()
        assert "5 of 7 parsed" in out
        assert "a.jpg" in err
        assert "error: 2 skipped" in err
        assert "Traceback" not in err
    folders = tmp_path / "1", tmp_path / "2"
    one, two = ({str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.*")} for out in folders)
    assert len(one) == 5 * 5 + 2
    assert one == two
    images = json.loads(one["annotations.json"])["images"]
    assert [image["file_name"] for image in images] == [f"{i}.png" for i in range(5)]
    content = json.loads(one["0.json"])
    assert (content["width"], content["height"]) == (96, 64)
    assert {len(a["keypoints"]) for a in content["faces"][0]["attributes"]} == {7}


@pytest.mark.slow
def test_merged_shards_are_equal_to_one_run(checkpoint, photos, tmp_path, capsys):
    settings = [f"ckpt={checkpoint}", f"source={photos}", "device=cpu", "align=none", "export=[json,coco,csv]"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    with pytest.raises(DataError, match=r"out is '.*', which has no shards: predict with shard=1/N to N/N and export"):
        merge(out)
    assert run(*settings, f"out={whole}") == 1
    assert run(*settings, f"out={out}", "shard=1/3") == 1  # a.jpg, 1.png, 4.png, or as they are sorted
    assert run(*settings, f"out={out}", "shard=3/3") in (0, 1)
    with pytest.raises(DataError, match="where shards have not finished: run shard=2/3, then merge"):
        merge(out)
    assert not (out / "annotations.json").exists()
    assert run(*settings, f"out={out}", "shard=2/3") in (0, 1)
    parsed = [int(count) for count in re.findall(r"^(\d) of \d parsed", capsys.readouterr().out, re.MULTILINE)]
    assert parsed[0] == sum(parsed[1:]) == 5
    assert merge(out) == [out / "annotations.json", out / "keypoints.csv"]
    one, three = ({p.name: p.read_bytes() for p in folder.rglob("*")} for folder in (whole, out))
    assert len(one) == 5 + 2
    assert one == three


@pytest.mark.slow
def test_shards_of_different_photos_are_not_merged(checkpoint, photos, tmp_path):
    settings = [f"ckpt={checkpoint}", f"out={tmp_path / 'out'}", "device=cpu", "align=none", "export=[csv]"]
    assert run(*settings, f"source={photos}/[01].png", "shard=1/2") == 0
    assert run(*settings, f"source={photos}/[02].png", "shard=2/2") == 0
    with pytest.raises(DataError, match=r"whose shards are of different photos or formats: remove '.*\.shards'"):
        merge(tmp_path / "out")
    assert run(*settings, f"source={photos}/[01].png", "shard=1/3") == 0
    with pytest.raises(DataError, match=r"which has shards of 2 and of 3: remove '.*\.shards'"):
        merge(tmp_path / "out")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "1/0", "-1/2"])
def test_a_shard_is_one_of_n(shard, capsys):
    assert run("photo.jpg", "out", f"shard={shard}") == 2
    assert f"shard is '{shard}': give K/N with K from 1 to N, such as 3/16" in capsys.readouterr().err


class TestDevices:
    """Processes stood in for by calls in this one, one after the other."""

    @pytest.fixture
    def opened(self, monkeypatch):
        """Return the devices on which parsers were opened; each is the CPU."""
        opened, open_on_cpu = [], FaceParser.from_checkpoint

        def open_parser(ckpt, *, device, **settings):
            opened.append(device)
            return open_on_cpu(ckpt, device="cpu", **settings)

        monkeypatch.setattr(FaceParser, "from_checkpoint", open_parser)

        def run_in_turn(parse, ranks, workers, *, chunk, setting):
            assert (list(ranks), chunk, setting) == (list(range(workers)), 1, "devices")
            return map(parse, ranks)

        monkeypatch.setattr(predicting, "run_in_processes", run_in_turn)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
        return opened

    @pytest.mark.slow
    def test_each_process_opens_one_parser_and_the_parent_none(self, opened, checkpoint, photos, tmp_path, capsys):
        arguments = [f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", "devices=3"]
        assert run(*arguments, "align=none", "export=[json]") == 1
        assert opened == ["cuda:0", "cuda:1", "cuda:2"]
        assert "5 of 7 parsed" in capsys.readouterr().out
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{i}.json" for i in range(5)]

    @pytest.mark.slow
    def test_the_error_of_a_process_is_that_of_the_run(self, opened, checkpoint, photos, tmp_path, capsys):
        (tmp_path / "out" / "4.json").mkdir(parents=True)
        arguments = [f"ckpt={checkpoint}", f"source={photos}", f"out={tmp_path / 'out'}", "devices=2", "export=[json]"]
        assert run(*arguments, "overwrite=true") == 2
        assert "4.json': cannot be written" in capsys.readouterr().err.splitlines()[-1]

    @pytest.mark.slow
    def test_too_many_gpus_are_refused_and_a_photo_needs_one(self, opened, checkpoint, photos, tmp_path, capsys):
        arguments = f"ckpt={checkpoint}", f"out={tmp_path / 'out'}"
        assert run(*arguments, f"source={photos}", "devices=4") == 2
        assert "devices is 4, but this machine has 3 GPUs: use fewer" in capsys.readouterr().err
        assert run(*arguments, f"source={photos}/0.png", "devices=2") == 0
        assert opened == ["auto"]


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices")
def test_pipes_and_devices_in_a_folder_are_not_read(tmp_path, capsys):
    photos = [tmp_path / "a.jpg", tmp_path / "gone.jpg"]
    photos[0].touch()
    photos[1].symlink_to("nowhere")  # reported when it is read
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zeros.jpg").symlink_to("/dev/zero")
    assert find_images(str(tmp_path)) == photos
    assert capsys.readouterr().err == f"source '{tmp_path}': not read: 2 .jpg\n"


def test_a_phones_folder_is_read_and_the_rest_is_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("trip [2024]/sub").mkdir(parents=True)
    photos = [Path("trip [2024]", name) for name in ("a.JPG", "b.avif", "c.gif", "d.jfif", "e.jp2")]
    for path in (*photos, Path("trip [2024]/f.HEIC"), Path("trip [2024]/g.heic"), Path("clip.flv")):
        path.touch()
    assert find_images("trip [2024]") == photos
    printed = capsys.readouterr().err
    assert printed.startswith("source 'trip [2024]': not read: 2 .heic, 1 subfolder; HEIC is not read; convert it")
    assert printed.count("\n") == 1
    assert find_images("trip [2024]/*.JPG") == find_images("t*/a.JPG") == photos[:1]
    for photo in photos:
        photo.unlink()
    with pytest.raises(DataError, match=r"without pictures or videos .*; HEIC is not read; convert it to JPEG"):
        find_images("trip [2024]")
    with pytest.raises(DataError, match=r"g.heic: cannot be read \(not a picture\); HEIC is not read; convert it"):
        read_image("trip [2024]/g.heic")


def test_what_cannot_be_read_is_told_with_what_can(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, message in (
        ("clip.flv", r"not a kind of video that can be read \(.mp4, .*convert it to .mp4"),
        ("a.heic", "HEIC is not read; convert it to JPEG"),
        ("0", "cameras are not read; give a video file, or the address of a stream"),
        ("/dev/null", "cameras are not read"),
    ):
        if source.startswith(("clip", "a")):
            Path(source).touch()
        with pytest.raises(DataError, match=f"source '{source}': {message}"):
            find_images(source)

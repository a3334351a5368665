"""From the official layout to the prepared one: labels worked out by hand, stops and starts, and every bad input."""

import re
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from helpers.official import IMAGES, MAPPING, MASKS, SIDE, SPLITS, contents, expected_label, write_mask, write_official
from PIL import Image

from facekp.config import DataConfig
from facekp.data.layout import read_index
from facekp.data.prepare import build as module
from facekp.data.prepare import convert as conversion
from facekp.data.prepare.__main__ import main
from facekp.data.prepare.build import prepare
from facekp.data.prepare.convert import Face
from facekp.data.prepare.sets import celebamask_hq as reader
from facekp.data.sources import prepared_root
from facekp.errors import ConfigError, DataError
from facekp.files import LOCK
from facekp.images import read_image, read_label, resize, write_label


@pytest.fixture
def raw(tmp_path):
    return write_official(tmp_path / "raw")


def labelled(masks):
    """Return the label that masks by class id give."""
    face = Face(Path(), 0, Path(), masks)
    return face.label({i: face.load(path) for i, path in masks.items()}, SIDE)


@pytest.mark.parametrize("header", [True, False])
def test_labels_images_and_splits_are_those_worked_out_by_hand(header, tmp_path):
    raw, out = write_official(tmp_path / "raw", header), tmp_path / "out"
    summary = prepare(raw, out, size=SIDE)
    for i in range(6):
        path = out / "labels" / f"{i:05d}.png"
        assert np.array_equal(read_label(path), expected_label(hat=i % 2 == 0))
        with Image.open(path) as picture:
            assert picture.mode == "P"
    rows = "".join(f"{i:05d},{split}\n" for i, split in enumerate(SPLITS))
    assert (out / "index.csv").read_text(encoding="utf-8") == "id,split\n" + rows
    counts = {"train": 2, "val": 2, "test": 2}
    assert {split: len(samples) for split, samples in read_index(out).items()} == counts
    assert (summary.summary.splits, summary.written) == (counts, 6)


def test_images_are_area_averages_at_jpeg_quality_95(raw, tmp_path):
    prepare(raw, tmp_path / "out", size=SIDE)
    source = read_image(raw / IMAGES / "3.jpg").astype(np.float64)
    averaged = source.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3))
    path = tmp_path / "out" / "images" / "00003.jpg"
    assert np.abs(read_image(path) - averaged).mean() < 3
    with Image.open(path) as picture:
        # The first entry of the standard's luminance table, 16, at quality 95: (16 * 10 + 50) // 100.
        assert picture.quantization[0][0] == 2


def test_an_enlarged_image_is_smooth(tmp_path):
    ramp = np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], 32, axis=0).repeat(3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    steps = np.diff(resize(read_image(tmp_path / "ramp.png"), (128, 128))[64, :, 0].astype(int))
    assert steps.max() <= 4  # blocks of four equal pixels would step by 8


def test_masks_count_above_zero_and_are_resized_to_nearest(tmp_path):
    faint = np.zeros((SIDE, SIDE), np.uint8)
    faint[:, :32] = 1
    Image.fromarray(np.dstack([faint] * 3)).save(tmp_path / "faint.png")
    write_mask(tmp_path / "small.png", (0, 16, 0, 32), channels=1, side=32)
    label = labelled({13: tmp_path / "small.png", 1: tmp_path / "faint.png"})
    assert label.tolist() == [[13] * SIDE] * 32 + [[1] * 32 + [0] * 32] * 32


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_masks_of_every_mode_are_read(mode, tmp_path):
    picture = Image.new("L", (SIDE, SIDE))
    picture.paste(255, (0, 0, 32, SIDE))
    picture.convert(mode).save(tmp_path / "mask.png")
    assert labelled({5: tmp_path / "mask.png"}).sum() == 5 * 32 * SIDE


@pytest.mark.slow
def test_summary_counts_pixels_and_images(raw, tmp_path, capsys):
    main([f"raw={raw}", f"out={tmp_path / 'out'}", f"size={SIDE}", "workers=2"])
    printed = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line.split()[1:] for line in printed[2:-1]}
    assert re.search(r"6 images \(train 2, val 2, test 2\): 6 written.*images/s", printed[0])
    assert (printed[1].split(), len(table)) == (["class", "pixels", "images"], 19)
    # Hat: 8 * 24 pixels of 64 * 64, in every second image; skin: 32 * 32 below the hair without 8 * 8 of nose.
    assert table["hat"] == [f"{100 * 8 * 24 / 64**2 / 2:.3f}%", "50.00%"]
    assert table["skin"] == [f"{100 * (32 * 32 - 8 * 8) / 64**2:.3f}%", "100.00%"]
    assert table["l_eye"] == ["0.000%", "0.00%"]
    (problem,) = [line for line in printed if line.startswith("problem")]
    # Of 18 classes, the masks are of hair, skin, nose, l_eye (below the hair) and hat.
    assert problem.startswith("problem: 14 x class that no image has (networks will not learn it): ")
    assert problem.endswith("; and 11 more")


def test_a_second_start_does_nothing(raw, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    prepare(raw, out, size=SIDE)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.*g")}
    for where, name in ((reader, "list_masks"), *((module, n) for n in ("run_in_processes", "convert", "read_back"))):
        monkeypatch.setattr(where, name, lambda *args: pytest.fail("work was done"))
    main([f"raw={raw}", f"out={out}", f"size={SIDE}"])
    assert "nothing was left to do" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.*g")}


def test_an_error_midway_leaves_nothing_half_written(raw, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare(raw, whole, size=SIDE)

    def fail_on_fourth(path, *label):
        path.write_bytes(b"half a")
        if "00003" in path.name:
            raise RuntimeError("pulled the plug")
        write_label(path, *label)

    with patch.object(conversion, "write_label", fail_on_fourth), pytest.raises(RuntimeError, match="pulled the plug"):
        prepare(raw, out, size=SIDE, workers=1)
    left, want = contents(out), contents(whole)
    assert left == {name: want[name] for name in left}
    assert {f"labels/0000{i}.png" for i in range(3)} <= left.keys()
    assert not {"labels/00003.png", "index.csv"} & left.keys()
    prepare(raw, out, size=SIDE)
    assert contents(out) == want


def test_two_sources_are_not_mixed(raw, tmp_path):
    out, other = tmp_path / "out", write_official(tmp_path / "other")
    prepare(raw, out, size=SIDE)
    before = contents(out)
    with pytest.raises(DataError, match=rf"'{out}': was prepared from '{raw}' at 64 pixels, not from '{other}'.*out="):
        prepare(other, out, size=SIDE)
    with pytest.raises(DataError, match=r"at 64 pixels, not from .* at 32 pixels; remove it"):
        prepare(raw, out, size=32)
    mapping = (raw / MAPPING).read_text(encoding="utf-8")
    (raw / MAPPING).write_text(mapping.replace("202599", "162700"), encoding="utf-8")
    with pytest.raises(DataError, match="whose mapping has changed since"):
        prepare(raw, out, size=SIDE)
    assert contents(out) == before
    (out / "index.csv").unlink()  # an unfinished folder too
    with pytest.raises(DataError, match="was prepared from"):
        prepare(other, out, size=SIDE)


def test_images_that_came_or_went_are_noticed(raw, tmp_path):
    out = tmp_path / "out"
    prepare(raw, out, size=SIDE)
    (raw / IMAGES / "5.JPG").unlink()
    with pytest.raises(DataError, match=r"index.csv: lists other images or splits .* remove this file"):
        prepare(raw, out, size=SIDE)
    (out / "index.csv").unlink()
    assert prepare(raw, out, size=SIDE).summary.splits == {"train": 2, "val": 2, "test": 1}


def test_a_missing_root_and_one_that_is_prepared_already_are_named(raw, tiny_root, tmp_path):
    with pytest.raises(DataError, match=r"^raw is '.*nowhere', which is not a folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(DataError, match=rf"^raw is '{tiny_root}', which is prepared already"):
        prepare(tiny_root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        (f"{IMAGES}/*", [], f"folder .*{IMAGES}: holds no image"),
        (
            "",
            [f"{IMAGES}/6.jpg", f"{IMAGES}/7.jpg"],
            f"image .*{IMAGES}/6.jpg: not listed in .*, nor are 1 other image",
        ),
        ("", [f"{IMAGES}/0.png"], "0.png: has the same id as 0.jpg"),
        (f"{MASKS}/1/00004_*", [], rf"image .*{IMAGES}/4.JPG: image without a mask 00004_\*.png, as 1 of 6"),
        ("", [MAPPING], "line 8: idx 0 is in train by an earlier line"),
    ],
    ids=["no image", "not listed", "one id twice", "no mask", "two splits"],
)
def test_an_unusable_source_is_named_before_anything_is_written(removed, added, message, raw, tmp_path):
    for path in raw.glob(removed) if removed else ():
        path.unlink()
    for name in added:
        with (raw / name).open("a", encoding="utf-8") as file:
            file.write("0 0 182638.jpg\n")  # no image's content is read as yet
    with pytest.raises(DataError, match=message):
        prepare(raw, tmp_path / "out", size=SIDE)
    assert not (tmp_path / "out" / "images").exists()


@pytest.mark.parametrize(("width", "height"), [(31, 64), (64, 31)])
def test_an_image_that_is_too_small_is_named(width, height, raw, tmp_path):
    Image.new("RGB", (width, height)).save(raw / IMAGES / "2.jpg")
    with pytest.raises(DataError, match=rf"2.jpg: {width} x {height} pixels, need at least 32 x 32"):
        prepare(raw, tmp_path / "out", size=SIDE)


def test_a_bad_mapping_row_is_named_by_line(tmp_path):
    path = tmp_path / "mapping.txt"
    for text, message in (
        ("0 0 000001.jpg\n1 1\n", ", line 2: '1 1"),
        ("0 0 000001.jpg\n1 1 face.jpg\n", ", line 2: '1 1"),
        ("idx orig_idx orig_file\n", ": lists no image"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=f"{path}{message}"):
            reader.read_mapping(path)


def test_an_out_that_cannot_be_written_is_named(raw, tmp_path):
    # Also when run as root, who may write anywhere: below a file there is no folder.
    (tmp_path / "file").write_text("", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(DataError, match=rf"'{out}': cannot be written .* give another folder \(out="):
            prepare(raw, out, size=SIDE)


def test_a_full_disk_is_told_before_anything_is_written(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=400_000))
    with pytest.raises(DataError, match=r"needs about 0.0006 GB, but only 0.0004 GB are free; make room"):
        prepare(raw, tmp_path / "out", size=512)
    assert not (tmp_path / "out" / "images").exists()
    assert prepare(raw, tmp_path / "out", size=SIDE).written == 6


@pytest.mark.parametrize(("name", "value"), [("size", 31), ("workers", 0)])
def test_settings_out_of_range_are_named(name, value, raw, tmp_path):
    with pytest.raises(ConfigError, match=f"{name} is {value}: give at least"):
        prepare(raw, tmp_path / "out", **{name: value})
    with pytest.raises(ConfigError, match=f"{name} is {value}: give at least"):
        main([f"raw={raw}", f"out={tmp_path / 'out'}", f"{name}={value}"])


def test_an_official_root_is_prepared_into_the_cache_once(raw, tmp_path, capsys):
    config = DataConfig(root=str(raw), cache=str(tmp_path / "cache"))
    root = prepared_root(config)
    assert re.fullmatch(rf"{config.cache}/celebamask-hq-\w{{8}}", str(root))
    assert read_label(root / "labels" / "00000.png").shape == (512, 512)
    assert str(root) in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (root / "labels").iterdir()}
    assert prepared_root(config) == root
    assert capsys.readouterr().out == ""
    assert before == {path: path.stat().st_mtime_ns for path in (root / "labels").iterdir()}
    other = write_official(tmp_path / "other")  # the same content
    (other / MASKS / ".DS_Store").touch()
    assert prepared_root(DataConfig(root=str(other), cache=config.cache)) == root
    assert capsys.readouterr().out == ""
    mask = next((other / MASKS).rglob("*.png"))
    Image.fromarray(255 - np.array(Image.open(mask))).save(mask, compress_level=0)
    assert prepared_root(DataConfig(root=str(other), cache=config.cache)) != root


def test_synthetic_faces_are_drawn_and_prepared_once(tmp_path, monkeypatch, capsys):
    settings = {"synthetic_train": 2, "synthetic_val": 1, "synthetic_test": 1, "size": 64, "crop": 64}
    config = DataConfig(source="synthetic", cache=str(tmp_path), **settings)
    root = prepared_root(config)
    samples = read_index(root)
    assert {split: len(listed) for split, listed in samples.items()} == {"train": 2, "val": 1, "test": 1}
    assert read_label(samples["val"][0].label).shape == (64, 64)
    assert str(root) in capsys.readouterr().out
    monkeypatch.setattr("facekp.data.synthetic.write.write_synthetic", lambda *args: pytest.fail("drawn again"))
    assert prepared_root(config) == root
    monkeypatch.undo()
    assert prepared_root(DataConfig(source="synthetic", cache=str(tmp_path), synthetic_seed=1, **settings)) != root


def test_links_to_folders_of_masks_are_followed_and_circles_are_not(raw, tmp_path):
    plain = prepare(raw, tmp_path / "plain", size=SIDE)
    (raw / MASKS / "1").rename(tmp_path / "elsewhere")
    (raw / MASKS / "1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(raw / MASKS)
    linked = prepare(raw, tmp_path / "linked", size=SIDE)
    assert linked.summary == plain.summary
    assert contents(tmp_path / "linked" / "labels") == contents(tmp_path / "plain" / "labels")


@pytest.mark.parametrize("name", ["images/00000.jpg", "labels/00000.png", "index.csv", "summary.json", "source.json"])
def test_another_programs_file_is_not_replaced(raw, tmp_path, name):
    (theirs := tmp_path / "out" / name).parent.mkdir(parents=True)
    theirs.write_text("theirs")
    with pytest.raises(DataError, match=r"holds images that prepare did not write|cannot be read"):
        prepare(raw, tmp_path / "out", size=SIDE)
    assert contents(tmp_path / "out") == {name: b"theirs"}
    assert not (tmp_path / "out" / LOCK).exists()

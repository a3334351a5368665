"""Prepared data sets: index.csv, data.exclude, and everything that is no such table, by name."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekp.config import Config, DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.exclusions import describe_exclusions, excluded_digest, read_exclusions
from facekp.data.layout import read_index, recognise
from facekp.errors import ConfigError, DataError
from facekp.files import as_cell
from facekp.images import read_image, read_label, write_label
from facekp.training.folder import SETTINGS, find_resume, finished_score, record_settings

OFFICIAL = ("CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebA-HQ-to-CelebA-mapping.txt")


@pytest.fixture
def prepared(tmp_path):
    """Three images, one a split, in an order that is not the alphabet's."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{i:05d}.jpg")
        write_label(tmp_path / "labels" / f"{i:05d}.png", np.full((8, 8), i, np.uint8))
    (tmp_path / "index.csv").write_text("id,split\n00002,train\n00000,val\n00001,test\n", encoding="utf-8")
    return tmp_path


def test_layouts_are_told_apart_and_an_incomplete_official_folder_is_told_what_is_missing(prepared, tmp_path_factory):
    official = tmp_path_factory.mktemp("official")
    for name in OFFICIAL:
        (official / name).mkdir()
    assert recognise(prepared) == "prepared"
    assert recognise(official) == "official"
    for gone in OFFICIAL:
        (official / gone).rmdir()
        with pytest.raises(DataError, match=f"without {gone}: add"):
            recognise(official)
        (official / gone).mkdir()


def test_a_missing_root_and_an_empty_one_are_named(tmp_path):
    with pytest.raises(DataError, match=r"^data.root is '.*nowhere', which is not a folder: .* data.source=synthetic"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(DataError, match=rf"^raw is '{tmp_path}', which holds neither index.csv"):
        recognise(tmp_path, setting="raw")


def test_index_lists_samples_by_split(prepared):
    samples = read_index(prepared)
    found = {split: [sample.id for sample in listed] for split, listed in samples.items()}
    assert found == {"train": ["00002"], "val": ["00000"], "test": ["00001"]}
    (one,) = samples["train"]
    assert (one.image, one.label) == (prepared / "images" / "00002.jpg", prepared / "labels" / "00002.png")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("id,split\n", "index.csv: lists no image"),
        ("name,part\n0,train\n", r"index.csv: columns \['name', 'part'\], need id and split"),
        ("id,split\n00000,training\n", "split 'training' of id 00000, need one of train, val, test"),
        ("id,split\n00000,train\n00000,val\n", r"index.csv: lists id 00000 twice \(duplicate ids: 1\)"),
    ],
)
def test_a_malformed_index_is_named(index, message, prepared):
    (prepared / "index.csv").write_text(index, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_index(prepared)


def test_an_index_that_a_spreadsheet_wrote(prepared):
    text = (prepared / "index.csv").read_text(encoding="utf-8")
    (prepared / "index.csv").write_text(text, encoding="utf-8-sig")
    assert [sample.id for sample in read_index(prepared)["train"]] == ["00002"]
    (prepared / "index.csv").write_text(text, encoding="utf-16")
    with pytest.raises(DataError, match=r"index\.csv: not UTF-8; save it as UTF-8, with the columns id and split"):
        read_index(prepared)


def test_an_image_without_its_label_and_a_label_without_its_image_are_named(prepared):
    (prepared / "labels" / "00001.png").rename(prepared / "aside.png")
    with pytest.raises(DataError, match=r"labels/00001.png: image 00001 has no label"):
        read_index(prepared)
    (prepared / "aside.png").rename(prepared / "labels" / "00001.png")
    (prepared / "images" / "00000.jpg").unlink()
    with pytest.raises(DataError, match=r"images/00000.jpg: listed in index.csv but missing"):
        read_index(prepared)


def test_labels_hold_ids_up_to_18_and_255_and_nothing_between(tmp_path):
    path = tmp_path / "label.png"
    allowed = np.array([[0, 18, 255, 7]], np.uint8)
    write_label(path, allowed)
    with Image.open(path) as picture:
        assert picture.mode == "P"
    assert np.array_equal(read_label(path), allowed)
    Image.new("RGB", (8, 8)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour.png: uint8 of shape \(8, 8, 3\), need one channel"):
        read_label(tmp_path / "colour.png")
    for value in (19, 254):
        write_label(path, np.array([[0, value, 255]], np.uint8))
        with pytest.raises(DataError, match=rf"{path}: value {value}, need class ids 0..18"):
            read_label(path)


def test_files_cut_off_anywhere_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 19, (40, 40, 3), dtype=np.uint8)
    for name, read, array in (("photo.jpg", read_image, noise), ("label.png", read_label, noise[..., 0])):
        path = tmp_path / name
        Image.fromarray(array).save(path)
        whole = path.read_bytes()
        # A PNG's last 24 bytes are checksums and its end mark, no pixels.
        for length in range(0, len(whole) - 24, 7):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError, match=rf"{path}: cannot be read"):
                read(path)


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_what_a_user_edits_counts(tmp_path):
    # Two columns will do, in any order; a spreadsheet adds a byte order mark and spaces.
    path = table(tmp_path / "mine.csv", "\ufeffexclude,id\nYES, 7\nno,8\n,9\n1,10\nFalse,11\n")
    assert read_exclusions(path) == {"7", "10"}
    # Ids that are quoted for spreadsheets are read as they were.
    rows = "".join(f"{as_cell(name)},yes\n" for name in ("=1+1", "-2", "plain"))
    assert read_exclusions(table(tmp_path / "audit.csv", "id,exclude\n" + rows)) == {"=1+1", "-2", "plain"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,split\n1,train\n", r"a table without the column exclude: give the audit\.csv of facekp audit"),
        ("", "a table without the column exclude and id"),
        ("id,exclude\n1,yes\n2,perhaps\n", r"line 3: exclude is 'perhaps', need yes or no"),
        ("exclude,id\nno\nyes\n", "line 3: no id, need one"),
    ],
)
def test_a_file_that_is_no_such_table(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_exclusions(table(tmp_path / "wrong.csv", text))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"^data\.exclude is '.*gone\.csv', which cannot be read \(No such file"):
        read_exclusions(str(tmp_path / "gone.csv"))
    (tmp_path / "picture.csv").write_bytes(bytes(range(256)))
    for path in (tmp_path, tmp_path / "picture.csv"):
        with pytest.raises(DataError, match="which cannot be read"):
            read_exclusions(str(path))


def test_only_training_images_are_excluded(tiny_root):
    # 00000 to 00011 are training images, 00012 to 00014 validation, the rest test.
    samples = read_index(tiny_root, frozenset({"00001", "00004", "00012", "00016"}))
    assert [s.id for s in samples["train"]] == [f"{i:05d}" for i in (0, 2, 3, 5, 6, 7, 8, 9, 10, 11)]
    assert (len(samples["val"]), len(samples["test"])) == (3, 2)
    # A table of another data set is refused.
    with pytest.raises(DataError, match=r"lists id '29999', which .*index\.csv does not \(1 such ids\)"):
        read_index(tiny_root, frozenset({"00001", "29999"}))


def test_an_excluded_image_need_not_be_there(tiny_root, tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).symlink_to(tiny_root / name)
    index = (tiny_root / "index.csv").read_text(encoding="utf-8")
    table(tmp_path / "index.csv", index + "lost,train\n")
    with pytest.raises(DataError, match=r"image .*lost\.jpg: listed in index\.csv but missing"):
        read_index(tmp_path)
    assert len(read_index(tmp_path, frozenset({"lost"}))["train"]) == 12


@pytest.fixture
def settings(tiny_root, tmp_path):
    path = table(tmp_path / "audit.csv", "id,exclude\n00003,yes\n00005,no\n00007,yes\n")
    return DataConfig(root=str(tiny_root), size=96, crop=64, batch_size=2, workers=0, exclude=path)


def test_training_never_sees_them(settings):
    data = FaceDataModule(settings, seed=0, total_steps=10)
    data.setup("fit")
    loader = data.train_dataloader()
    assert [sample.id for sample in loader.dataset.samples] == [f"{i:05d}" for i in (0, 1, 2, 4, 5, 6, 8, 9, 10, 11)]
    # Two passes over the ten that are left.
    assert sorted(index for index, _ in loader.sampler) == sorted(2 * list(range(10)))
    assert len(data.val_dataloader().dataset) == 3


def test_a_wrong_file_is_told_before_any_data_is_read(settings):
    with pytest.raises(DataError, match=r"data\.exclude is 'nowhere\.csv'"):
        FaceDataModule(replace(settings, exclude="nowhere.csv"), seed=0, total_steps=1)


def test_something_must_be_left(settings, tmp_path):
    rows = "".join(f"{i:05d},yes\n" for i in range(12))
    everything = replace(settings, exclude=table(tmp_path / "all.csv", "id,exclude\n" + rows))
    with pytest.raises(DataError, match=r"data\.exclude is '.*all\.csv', which excludes all training images"):
        FaceDataModule(everything, seed=0, total_steps=1).setup("fit")


def test_a_resumed_run_must_exclude_the_same(settings, tmp_path, monkeypatch):
    path, reader = tmp_path / "run" / "checkpoints" / "last.ckpt", "facekp.weights.checkpoint.read_checkpoint"
    path.parent.mkdir(parents=True)
    path.touch()
    config = Config(data=settings, model={"name": "resnet18"}, resume=str(path))

    def saved(data):
        return {"loops": {}, "global_step": 4, SETTINGS: record_settings(config, excluded_digest(data.exclude))}

    same = replace(settings, exclude=table(tmp_path / "moved.csv", "exclude,id\nyes,00007\nyes,00003\n"))
    for before in (settings, same):
        monkeypatch.setattr(reader, lambda path, before=before: saved(before))
        assert find_resume(config).step == 4
    # sha256 of "00003\n00007", its first eight digits, by another tool.
    two = "2 images (9185c449)"
    assert describe_exclusions(frozenset({"00007", "00003"})) == two
    assert describe_exclusions(frozenset({"00007", "00004"})) != two
    monkeypatch.setattr(reader, lambda path: saved(replace(settings, exclude=None)))
    with pytest.raises(ConfigError, match=rf"data\.excluded is '{re.escape(two)}', but .* was trained with None"):
        find_resume(config)


def test_a_run_keeps_whom_it_excluded_though_the_table_changes(settings):
    data = FaceDataModule(settings, seed=0, total_steps=1)
    table(Path(settings.exclude), "id,exclude\n00001,yes\n")
    assert data.excluded_digest == "2 images (9185c449)"
    data.setup("fit")
    assert len(data.samples["train"]) == 10


def test_a_finished_run_is_no_score_of_one_that_excludes_others(settings, tmp_path):
    config = Config(data=settings, model={"name": "resnet18"}, output_dir=str(tmp_path))
    summary = {"settings": record_settings(config, "2 images (9185c449)"), "val": {"best": {"miou": 0.5}}}
    (tmp_path / "metrics.json").write_text(json.dumps(summary), encoding="utf-8")
    assert finished_score(config) == 0.5
    with pytest.raises(ConfigError, match=r"data\.excluded is None, but .*metrics\.json"):
        finished_score(replace(config, data=replace(settings, exclude=None)))

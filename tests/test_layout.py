"""Telling the layouts apart, reading index.csv, and every bad prepared data set by name."""

import numpy as np
import pytest
from PIL import Image

from facekp.data.layout import read_index, recognise
from facekp.errors import DataError
from facekp.images import read_image, read_label, write_label

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

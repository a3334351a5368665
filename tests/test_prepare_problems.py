"""A download with everything wrong: labels worked out by hand, and each problem told by name with what happens."""

import json

import numpy as np
import pytest
from helpers.official import IMAGES, MASKS, SIDE, contents, expected_label, write_mask, write_official
from PIL import Image

from facekp.data.layout import read_index
from facekp.data.prepare.__main__ import main
from facekp.data.prepare.build import prepare
from facekp.errors import DataError
from facekp.images import read_label


@pytest.fixture
def raw(tmp_path):
    """Six faces in one- and three-channel masks, upper- and lower-case suffixes; flaws that stop nothing."""
    raw = write_official(tmp_path / "raw", header=False)
    (raw / IMAGES / "1.jpg").unlink()  # listed and not there; its masks are without an image
    write_mask(raw / MASKS / "0" / "00000_beard.png", (0, 64, 0, 64))
    write_mask(raw / MASKS / "0" / "00000_cloth.png", (0, 0, 0, 0))  # no pixel
    write_mask(raw / MASKS / "1" / "00002_hair.png", (0, 64, 0, 64))  # the one in folder 0 comes first
    (raw / MASKS / "0" / "00002_nose.png").unlink()
    write_mask(raw / MASKS / "1" / "00003_nose.png", (15, 20, 14, 18), channels=1, side=32)  # half the size
    Image.new("RGB", (128, 96), "red").save(raw / IMAGES / "4.JPG", format="JPEG")
    for name in ("Thumbs.db", ".DS_Store", "._00000_hair.png", "README.png"):
        (raw / MASKS / "0" / name).write_bytes(b"not a mask")
    return raw


# Neither drawn nor, as l_eye, visible below the hair.
ABSENT = (
    "cloth", "ear_r", "eye_g", "l_brow", "l_ear", "l_eye", "l_lip", "mouth", "neck", "neck_l", "r_brow", "r_ear",
    "r_eye", "u_lip",
)  # fmt: skip
# Kind, file, detail: in the order of kinds, then of names.
FOUND = [
    ("listed image that is not there", f"{IMAGES}/1.jpg", ""),
    ("face without a skin or nose mask", f"{IMAGES}/2.jpg", "nose"),
    ("mask without a pixel", f"{MASKS}/0/00000_cloth.png", ""),
    ("mask of another size than the face's other masks", f"{MASKS}/1/00003_nose.png", "32 x 32, the others 64 x 64"),
    ("image or mask that is not square", f"{IMAGES}/4.JPG", "128 x 96"),
    ("mask of an unknown attribute", f"{MASKS}/0/00000_beard.png", "beard"),
    ("second mask of one attribute", f"{MASKS}/1/00002_hair.png", f"beside {MASKS}/0/00002_hair.png"),
    *(("class that no image has", f"{MASKS}/*/*_{name}.png", "") for name in ABSENT),
    ("mask without an image", f"{MASKS}/*/00001_*.png", ""),
]


def listed(out):
    groups = json.loads((out / "summary.json").read_text(encoding="utf-8"))["problems"]
    assert [group["count"] for group in groups] == [len(group["files"]) for group in groups]
    return [(group["kind"], row["file"], row["detail"]) for group in groups for row in group["files"]]


def test_labels_are_those_worked_out_by_hand_and_every_problem_is_in_the_summary(raw, tmp_path):
    out = tmp_path / "out"
    assert prepare(raw, out, size=SIDE).written == 5
    labels = {i: expected_label(hat=i % 2 == 0) for i in (0, 2, 3, 4, 5)}
    labels[2][32:40, 28:36] = 1  # no nose: the skin beneath it shows
    # Rows 15..19 and columns 14..17 of 32 are rows 30..39 and columns 28..35 of 64: the nose as it was.
    for i, label in labels.items():
        assert np.array_equal(read_label(out / "labels" / f"{i:05d}.png"), label), i
    assert {split: [s.id for s in samples] for split, samples in read_index(out).items()} == {
        "train": ["00000"], "val": ["00002", "00003"], "test": ["00004", "00005"]}  # fmt: skip
    assert listed(out) == FOUND
    # A killed start forgets none.
    for name in ("index.csv", "summary.json", "labels/00005.png"):
        (out / name).unlink()
    assert prepare(raw, out, size=SIDE).written == 1
    assert listed(out) == FOUND


@pytest.mark.slow
def test_every_problem_is_told_with_what_happens_and_again_when_the_folder_is_complete(raw, tmp_path, capsys):
    for _ in range(2):
        main([f"raw={raw}", f"out={tmp_path / 'out'}", f"size={SIDE}", "workers=2"])
    lines = capsys.readouterr().out.splitlines()
    half = len(lines) // 2
    assert lines[0].partition(": ")[0] == lines[half].partition(": ")[0]
    assert lines[half].endswith("holds 5 images (train 1, val 2, test 2): nothing was left to do")
    assert lines[1:half] == lines[half + 1 :]
    told = [line for line in lines[:half] if line.startswith("problem")]
    no_nose = f"problem: 1 x face without a skin or nose mask (prepared without that class): {IMAGES}/2.jpg: nose"
    beard = f"problem: 1 x mask of an unknown attribute (ignored): {MASKS}/0/00000_beard.png: beard"
    assert (told[1], told[5], len(told)) == (no_nose, beard, len({kind for kind, *_ in FOUND}))


def test_only_the_first_few_are_named(raw, tmp_path, capsys):
    for name in ("scar", "tattoo", "mole", "wart"):
        write_mask(raw / MASKS / "1" / f"00005_{name}.png", (0, 8, 0, 8))
    main([f"raw={raw}", f"out={tmp_path / 'out'}", f"size={SIDE}"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "unknown attribute" in line]
    assert line.startswith("problem: 5 x mask of an unknown attribute (ignored): ")
    assert line.endswith("00005_mole.png: mole; " + f"{MASKS}/1/00005_scar.png: scar; and 2 more")


class TestBadImages:
    """An image that is cut off, one that has a mask that is cut off, and one without any mask."""

    @pytest.fixture
    def bad(self, tmp_path):
        raw = write_official(tmp_path / "raw")
        for path in (raw / IMAGES / "0.jpg", raw / MASKS / "0" / "00002_hair.png"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return raw

    def test_all_are_named_once_the_others_are_written(self, bad, tmp_path):
        out = tmp_path / "out"
        with pytest.raises(DataError, match=rf"'{bad}': 2 of its images cannot be prepared, all others are: ") as error:
            prepare(bad, out, size=SIDE)
        for part in (f"{IMAGES}/0.jpg: cannot be read", f"{MASKS}/0/00002_hair.png: cannot be read", "skip_bad=true"):
            assert part in str(error.value)
        assert sorted(path.name for path in (out / "labels").iterdir()) == [f"{i:05d}.png" for i in (1, 3, 4, 5)]
        assert not (out / "index.csv").exists()
        assert not any(name.endswith(".part") for name in contents(out))
        found = ["image that cannot be used", "mask that cannot be read"]
        assert list(dict.fromkeys(kind for kind, *_ in listed(out))) == [*found, "class that no image has"]

    def test_they_can_be_skipped(self, bad, tmp_path, capsys):
        out = tmp_path / "out"
        for path in (bad / MASKS / "1").glob("00004_*"):
            path.unlink()
        main([f"raw={bad}", f"out={out}", f"size={SIDE}", "skip_bad=true"])
        printed = capsys.readouterr().out
        assert "holds 3 images (train 1, val 1, test 1): 3 written" in printed
        assert f"problem: 1 x image without any mask (skipped): {IMAGES}/4.JPG" in printed
        assert "problem: 1 x mask that cannot be read (its image is skipped): " in printed
        assert [s.id for samples in read_index(out).values() for s in samples] == ["00001", "00003", "00005"]
        # As train.py calls it: what was skipped before is no reason to stop.
        assert prepare(bad, out, size=SIDE).written == 0

    def test_once_they_are_put_right_only_they_are_prepared(self, bad, tmp_path):
        out, whole = tmp_path / "out", write_official(tmp_path / "whole")
        prepare(bad, out, size=SIDE, skip_bad=True)
        for name in (f"{IMAGES}/0.jpg", f"{MASKS}/0/00002_hair.png"):
            (bad / name).write_bytes((whole / name).read_bytes())
        (out / "index.csv").unlink()
        assert prepare(bad, out, size=SIDE).written == 2
        fresh = tmp_path / "fresh"
        prepare(bad, fresh, size=SIDE)
        assert contents(out) == contents(fresh)

    def test_where_every_image_is_bad_none_may_be_skipped(self, tmp_path):
        raw = write_official(tmp_path / "raw")
        for path in (raw / IMAGES).iterdir():
            path.write_bytes(b"")
        with pytest.raises(DataError, match=r"6 of its images cannot be prepared"):
            prepare(raw, tmp_path / "out", size=SIDE, skip_bad=True)

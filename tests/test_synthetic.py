"""Synthetic faces, and the official folder that they are written to."""

import numpy as np
import pytest
from PIL import Image

from facekp.classes import CELEBAMASK_HQ
from facekp.data.synthetic.__main__ import main
from facekp.data.synthetic.canvas import Canvas, ellipse
from facekp.data.synthetic.write import draw_face, write_synthetic
from facekp.errors import ConfigError, DataError

SIZE = 128
COUNTS = {"train": 3, "val": 2, "test": 1}


@pytest.fixture(scope="module")
def faces():
    return [draw_face(seed, SIZE) for seed in range(60)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    write_synthetic(folder, COUNTS, seed=3, size=SIZE)
    return folder


def centre(mask):
    """Return the centroid x, y of a mask as fractions of the picture."""
    y, x = np.nonzero(mask)
    return float(x.mean() / SIZE), float(y.mean() / SIZE)


def composite(masks):
    label = np.zeros((SIZE, SIZE), np.uint8)
    for number, part in enumerate(CELEBAMASK_HQ.names):
        if part in masks:
            label[masks[part]] = number
    return label


def test_a_seed_gives_one_face_and_another_seed_another(faces):
    again = draw_face(5, SIZE)
    np.testing.assert_array_equal(again.image, faces[5].image)
    assert again.masks.keys() == faces[5].masks.keys()
    for part, mask in again.masks.items():
        np.testing.assert_array_equal(mask, faces[5].masks[part])
    assert len({face.image.tobytes() for face in faces}) == len(faces)
    assert len({composite(face.masks).tobytes() for face in faces}) == len(faces)


def test_every_attribute_appears_and_the_rare_ones_are_rare(faces):
    shares = {part: np.mean([part in face.masks for face in faces]) for part in CELEBAMASK_HQ.names[1:]}
    assert {shares[part] for part in ("skin", "nose", "u_lip", "l_lip", "neck", "cloth")} == {1.0}
    assert all(share > 0 for share in shares.values()), shares
    assert all(shares[part] < 0.5 for part in ("hat", "eye_g", "neck_l")), shares
    # Clear glasses show both eyes, dark ones neither.
    worn = [face.masks.keys() & {"l_eye", "r_eye"} for face in faces if "eye_g" in face.masks]
    assert {frozenset(eyes) for eyes in worn} == {frozenset(), frozenset({"l_eye", "r_eye"})}


def test_every_mask_can_be_seen(faces):
    for face in faces:
        assert (face.image.shape, face.image.dtype) == ((SIZE, SIZE, 3), np.uint8)
        label = composite(face.masks)
        assert {CELEBAMASK_HQ.names[i] for i in np.unique(label) if i} == set(face.masks)


def test_features_are_where_celeba_hq_aligns_them_the_subjects_left_on_the_images_right(faces):
    for pair in ("eye", "brow", "ear"):
        both = [face.masks for face in faces if {f"l_{pair}", f"r_{pair}"} <= face.masks.keys()]
        assert len(both) > 5
        assert all(centre(masks[f"l_{pair}"])[0] > centre(masks[f"r_{pair}"])[0] + 0.1 for masks in both)
    eyes = np.array([centre(face.masks["l_eye"] | face.masks["r_eye"]) for face in faces if "l_eye" in face.masks])
    lips = np.array([centre(face.masks["u_lip"] | face.masks["l_lip"]) for face in faces])
    assert np.abs(eyes - (0.5, 0.47)).max() < 0.1
    assert np.abs(lips - (0.5, 0.72)).max() < 0.1


def test_skin_goes_on_beneath_the_features(faces):
    for part in ("nose", "l_eye", "r_eye", "u_lip", "l_lip", "mouth", "l_brow", "r_brow"):
        inside = [np.mean(face.masks["skin"][face.masks[part]]) for face in faces if part in face.masks]
        assert min(inside) > 0.8, part
        assert np.mean(inside) > 0.97, part


def test_labels_follow_the_picture():
    """A part in front hides the label of what lies behind it, whichever id is larger."""
    canvas = Canvas(SIZE, origin=0.5 + 0.5j, unit=0.25)
    for part, radius, grey in (("cloth", 1.0, 1.0), ("skin", 0.5, 0.0), ("nose", 0.25, 0.5)):
        canvas.paint(ellipse(0, radius, radius), (grey, grey, grey), part)
    label, masks = composite(canvas.masks()), canvas.masks()
    assert set(np.unique(label[canvas.image[0] < 0.1])) == {0, 1}
    assert label[SIZE // 2, SIZE // 2] == 2
    assert np.count_nonzero(label == 18) == pytest.approx(np.pi * (32**2 - 16**2), rel=0.03)
    assert not masks["cloth"][SIZE // 2, SIZE // 2]
    assert masks["skin"][SIZE // 2, SIZE // 2]


def test_the_folder_holds_an_image_and_the_visible_masks_of_each_face(tmp_path):
    write_synthetic(tmp_path, {"train": 2}, seed=11, size=64)
    seeds = np.random.SeedSequence(11).generate_state(2, np.uint64)
    assert sorted(path.name for path in (tmp_path / "CelebA-HQ-img").iterdir()) == ["0.jpg", "1.jpg"]
    for index in range(2):
        face = draw_face(int(seeds[index]), 64)
        files = {path.stem[6:]: path for path in tmp_path.glob(f"CelebAMask-HQ-mask-anno/0/{index:05d}_*.png")}
        assert files.keys() == face.masks.keys()
        assert len(files) < len(CELEBAMASK_HQ) - 1
        for part, path in files.items():
            with Image.open(path) as picture:
                np.testing.assert_array_equal(np.array(picture), 255 * face.masks[part])
        with Image.open(tmp_path / "CelebA-HQ-img" / f"{index}.jpg") as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (64, 64), "RGB")
            difference = np.abs(np.array(picture).astype(float) - face.image)
        assert difference.mean() < 6


def test_the_mapping_puts_the_images_in_their_splits(root):
    header, *rows = (root / "CelebA-HQ-to-CelebA-mapping.txt").read_text().splitlines()
    assert header.split() == ["idx", "orig_idx", "orig_file"]
    assert [int(row.split()[0]) for row in rows] == list(range(6))
    numbers = [int(row.split()[2].removesuffix(".jpg")) for row in rows]
    assert len(set(numbers)) == 6
    splits = ["train" if n <= 162770 else "val" if n <= 182637 else "test" for n in numbers]
    assert splits == ["train"] * 3 + ["val"] * 2 + ["test"]


def test_settings_are_checked(tmp_path):
    for setting, message in (("size=63", "size is 63: give at least 64"), ("train=-1", "train is -1")):
        with pytest.raises(ConfigError, match=message):
            main([f"out={tmp_path}/faces", setting])
    assert not (tmp_path / "faces").exists()


def test_a_folder_of_other_faces_is_refused(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    for other in ({"seed": 4, "size": SIZE}, {"seed": 3, "size": 64}):
        with pytest.raises(DataError, match=rf"folder '{root}': holds faces drawn with .*\"seed\": 3.*; remove it"):
            write_synthetic(root, COUNTS, **other)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize(
    "name", ["CelebA-HQ-img/0.jpg", "CelebAMask-HQ-mask-anno/0/00000_hair.png", "CelebA-HQ-to-CelebA-mapping.txt"]
)
def test_other_files_of_the_official_layout_are_not_replaced(tmp_path, name):
    (theirs := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("theirs")
    with pytest.raises(DataError, match="holds images that were not drawn"):
        write_synthetic(tmp_path, COUNTS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


def test_writing_again_restores_what_was_lost_and_nothing_else(root):
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    (root / "CelebA-HQ-img" / "1.jpg").unlink()
    lost = next((root / "CelebAMask-HQ-mask-anno" / "0").glob("00001_*.png"))
    lost.unlink()
    write_synthetic(root, COUNTS, seed=3, size=SIZE)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before

"""Augmentation: left and right on real faces, alignment of image and label, and how often each thing happens."""

import itertools
import math
from collections import Counter
from functools import cache
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch

from facekp.classes import ATTRIBUTES, MIRROR_PAIRS
from facekp.data.layout import read_index
from facekp.data.normalisation import normalise
from facekp.data.transforms import corruption, evaluation_transform, training_transform
from facekp.images import read_image, read_label

IDS = {name: i for i, name in enumerate(ATTRIBUTES)}
SIDES = [(IDS[f"l_{part}"], IDS[f"r_{part}"]) for part in ("eye", "brow", "ear")]
SCALES = (0.75, 1, 1.25, 1.5, 1.75, 2)


@pytest.fixture(scope="module")
def faces(real_root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read 12 real validation faces with both eyes, as image and label."""
    found = []
    for sample in read_index(real_root)["val"]:
        label = read_label(sample.label)
        if {4, 5} <= set(np.unique(label)):
            found.append((read_image(sample.image), label))
        if len(found) == 12:
            return found
    pytest.fail("fewer than 12 validation faces with both eyes")


def centre_x(label: np.ndarray, class_id: int) -> float:
    return float(np.nonzero(label == class_id)[1].mean())


def test_the_pairs_are_the_attributes_with_a_side() -> None:
    assert sorted(MIRROR_PAIRS) == SIDES == [(4, 5), (6, 7), (8, 9)]


class TestMirrorOnRealFaces:
    """The whole pipeline with nothing to do but to mirror."""

    @pytest.mark.parametrize("flip", [0.0, 1.0])
    def test_left_becomes_right(self, faces: list[tuple[np.ndarray, np.ndarray]], flip: float) -> None:
        transform = training_transform(512, 512, scales=[1], jitter=0, flip=flip)
        swapped = np.array([0, 1, 2, 3, 5, 4, 7, 6, 9, 8, *range(10, 19)])
        for image, label in faces:
            assert label.shape == image.shape[:2] == (512, 512)
            out = transform(image=image, mask=label)
            assert np.array_equal(out["image"], image[:, ::-1] if flip else image)
            assert np.array_equal(out["mask"], swapped[label[:, ::-1]] if flip else label)

    def test_the_subjects_left_stays_on_the_images_right(self, faces: list[tuple[np.ndarray, np.ndarray]]) -> None:
        transform = training_transform(512, 512, scales=[1], jitter=0, flip=1)
        for image, label in faces:
            mirrored = transform(image=image, mask=label)["mask"]
            for left, right in SIDES[:2]:
                for side in (label, mirrored):
                    if {left, right} <= set(np.unique(side)):
                        assert centre_x(side, left) > centre_x(side, right)


SIDE = 64


def coded() -> tuple[np.ndarray, np.ndarray]:
    """Return a label, and an image that says of every pixel where it was (red: x, green: y) and its class (blue)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    label = ((x // 16) + 4 * (y // 16)).astype(np.uint8) + 2  # blocks of 16 pixels: 2..17, so all pairs with a side
    return np.stack([2 * x + 60, 2 * y + 60, 10 * label], -1).astype(np.uint8), label


@cache
def drawn(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the coded image through the pipeline, once a seed; the crop is twice the size, so that all of it shows."""
    transform = training_transform(SIDE, 2 * SIDE, scales=SCALES, jitter=0, flip=0.5)
    image, label = coded()
    outs = []
    for seed in range(count):
        transform.set_random_seed(seed)
        out = transform(image=image, mask=label)
        outs.append((out["image"].astype(float), out["mask"]))
    return outs


def is_flipped(image: np.ndarray, valid: np.ndarray) -> bool:
    row = image[..., 0][valid.any(1)][0][valid.any(0)]
    return bool(row[0] > row[-1])


DRAWS = 1200


def within(count: int, trials: int, share: float) -> bool:
    """Tell whether `count` lies within four binomial deviations of what `share` of the trials gives."""
    return abs(count - trials * share) <= 4 * math.sqrt(trials * share * (1 - share))


def test_scales_and_flips_are_drawn_evenly_and_independently() -> None:
    found = Counter()
    for image, mask in drawn(DRAWS):
        valid = mask != 255
        found[math.sqrt(valid.sum()) / SIDE, is_flipped(image, valid)] += 1
    assert set(found) == set(itertools.product(SCALES, (False, True)))
    for scale in SCALES:
        assert within(found[scale, False] + found[scale, True], DRAWS, 1 / 6), found
    assert within(sum(n for (_, flipped), n in found.items() if flipped), DRAWS, 1 / 2), found
    assert all(within(n, DRAWS, 1 / 12) for n in found.values()), found


def test_the_crops_place_depends_on_neither_scale_nor_flip() -> None:
    image, label = coded()
    transform = training_transform(SIDE, 48, scales=[1, 2], jitter=0, flip=0.5)
    places: dict[tuple[int, bool], list[tuple[float, float]]] = {}
    for seed in range(600):
        transform.set_random_seed(seed)
        crop = transform(image=image, mask=label)["image"].astype(float)
        x, y = (crop[24, :, 0] - 60) / 2, (crop[:, 24, 1] - 60) / 2  # source pixels along a row and a column
        scale, flipped = round(47 / (y[-1] - y[0])), bool(x[0] > x[-1])
        left, top = (SIDE - 1 - x[0] if flipped else x[0]), y[0]
        room = (SIDE * scale - 48) / scale
        places.setdefault((scale, flipped), []).append((left / room, top / room))
    assert set(places) == {(1, False), (1, True), (2, False), (2, True)}
    for group in places.values():
        # Uniform in 0..1: mean 1/2, deviation 0.289, both ways; a pixel of the scaled image is 1/16 at most.
        assert np.mean(group, 0) == pytest.approx([0.5, 0.5], abs=4 * 0.289 / math.sqrt(len(group)))
        assert np.min(group) < 0.07
        assert np.max(group) > 0.93


def test_brightness_keeps_its_bounds_and_does_not_depend_on_the_scale() -> None:
    transform = training_transform(32, 64, scales=SCALES, jitter=0.5, flip=0.5)
    grey, label = np.full((32, 32, 3), 100, np.uint8), np.zeros((32, 32), np.uint8)
    levels: dict[int, list[float]] = {}
    for seed in range(600):
        transform.set_random_seed(seed)
        out = transform(image=grey, mask=label)
        valid = out["mask"] == 0
        assert np.ptp(out["image"][valid]) < 1.5  # still grey
        levels.setdefault(int(valid.sum()), []).append(out["image"].astype(float)[valid].mean())
    assert len(levels) == 6
    for group in levels.values():  # uniform in 50..150: deviation 28.9
        assert np.mean(group) == pytest.approx(100, abs=4 * 28.9 / math.sqrt(len(group)))
    drawn_levels = [level for group in levels.values() for level in group]
    assert 49 <= min(drawn_levels) < 53
    assert 147 < max(drawn_levels) <= 151


def test_image_and_label_stay_together() -> None:
    swap = np.array([0, 1, 2, 3, 5, 4, 7, 6, 9, 8, *range(10, 19)])
    seen = set()
    for image, mask in drawn(DRAWS)[:60]:
        valid = mask != 255
        flipped = is_flipped(image, valid)
        # Away from edges (of classes and of the image), a pixel and its neighbours have one class.
        inner = valid.copy()
        for shift in (-2, 2):
            for axis in (0, 1):
                inner &= np.roll(mask, shift, axis) == mask
        class_id = (image[..., 2] / 10).round().astype(int)
        assert np.array_equal(swap[class_id[inner]] if flipped else class_id[inner], mask[inner])
        # Where it was says the same: x and y in the source, hence the block, hence the class.
        x, y = (((image[..., c] - 60) / 2).round().astype(int)[inner] for c in (0, 1))
        block = 2 + x // 16 + 4 * (y // 16)
        assert np.array_equal(swap[block] if flipped else block, mask[inner])
        assert inner.sum() > 0.4 * valid.sum()  # blocks are 12 pixels or wider, less 2 on each side
        seen.add((flipped, valid.sum()))
    assert len(seen) == 12  # both directions at all six scales were looked at


def test_the_label_is_255_exactly_where_the_image_is_padded() -> None:
    for image, mask in drawn(DRAWS)[:60]:
        # The picture's own pixels have at least 60 in red; padding is black before normalisation.
        assert np.array_equal(mask == 255, image[..., 0] < 30)
        assert np.abs(image[mask == 255]).max(initial=0) < 1e-3
        # It is one rectangle, wholly inside.
        rows, columns = (mask != 255).any(1), (mask != 255).any(0)
        assert (mask != 255).sum() == rows.sum() * columns.sum()


def test_no_padding_where_the_scaled_image_is_larger_than_the_crop() -> None:
    image, label = coded()
    transform = training_transform(SIDE, 48, scales=[0.75, 1, 2], jitter=0, flip=0.5)
    corners = set()
    for seed in range(40):
        transform.set_random_seed(seed)
        mask = transform(image=image, mask=label)["mask"]
        assert (mask != 255).all()
        corners.add(mask.tobytes())
    assert len(corners) > 20  # crops lie in different places


def test_labels_hold_no_new_class() -> None:
    # Stripes of 2 pixels of the ids 1 and 18: any blending would give ids between.
    label = np.where(np.arange(SIDE) // 2 % 2, 1, 18).astype(np.uint8)[None].repeat(SIDE, 0)
    transform = training_transform(96, 80, scales=SCALES, jitter=0.5, flip=0.5)
    for seed in range(40):
        transform.set_random_seed(seed)
        out = transform(image=np.zeros((SIDE, SIDE, 3), np.uint8), mask=label)
        assert set(np.unique(out["mask"])) <= {1, 18, 255}
    out = evaluation_transform(96)(image=np.zeros((SIDE, SIDE, 3), np.uint8), mask=label)
    assert set(np.unique(out["mask"])) == {1, 18}


def test_jitter_draws_contrast_and_saturation_too() -> None:
    # Grey 80, grey 120, and a colour of grey level 100, a third of the picture each (11, 11 and 10 columns).
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :11], image[:, 11:22], image[:, 22:] = 80, 120, (130, 90, 73)
    transform = training_transform(32, 32, scales=[1], jitter=0.5, flip=0)
    contrasts, saturations = [], []
    for seed in range(300):
        transform.set_random_seed(seed)
        out = transform(image=image, mask=image[..., 0] * 0)["image"].astype(float)
        dark, light, (red, green, _) = out[0, 0, 0], out[0, 11, 0], out[0, 31]
        brightness = (out @ (0.299, 0.587, 0.114)).mean() / 100  # contrast and saturation leave the mean as it was
        if brightness > 0.9:  # levels are whole numbers, which blurs the ratios of dark pictures
            contrasts.append((light - dark) / 40 / brightness)
            saturations.append((red - green) / (light - dark))
    for factors in (contrasts, saturations):  # uniform in 0.5..1.5: mean 1, deviation 0.289
        assert len(factors) > 100
        assert 0.42 < min(factors) < 0.58
        assert 1.42 < max(factors) < 1.58
        assert np.mean(factors) == pytest.approx(1, abs=4 * 0.289 / math.sqrt(len(factors)))


def test_evaluation_shows_the_whole_image() -> None:
    # Four quarters of four colours and classes, not square; halved, each is a quarter still.
    label = np.zeros((64, 128), np.uint8)
    label[:32, 64:], label[32:, :64], label[32:, 64:] = 4, 5, 18
    image = np.stack([label * 10] * 3, -1)
    out = evaluation_transform(32)(image=image, mask=label)
    assert (out["image"].shape, out["image"].dtype) == ((32, 32, 3), np.uint8)
    want = np.zeros((32, 32), np.uint8)
    want[:16, 16:], want[16:, :16], want[16:, 16:] = 4, 5, 18
    assert np.array_equal(out["mask"], want)
    assert np.array_equal(out["image"], np.stack([want * 10] * 3, -1))
    again = evaluation_transform(32)(image=image, mask=label)
    assert np.array_equal(again["image"], out["image"])


def test_normalisation_by_hand() -> None:
    # (1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225, by torchvision's numbers for ImageNet.
    images = torch.zeros(2, 5, 7, 3, dtype=torch.uint8)
    images[1, 4, 2] = torch.tensor([255, 0, 51])
    out = normalise(images)
    assert (out.shape, out.dtype) == ((2, 3, 5, 7), torch.float32)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out[1, :, 4, 2].tolist() == pytest.approx([2.2489083, -2.0357143, -0.9155556], rel=1e-6)
    black = [-2.1179039, -2.0357143, -1.8044444]  # -mean / std
    assert out[0, :, 4, 2].tolist() == pytest.approx(black, rel=1e-6)
    assert (out == out[0, :, :1, :1]).all(1).sum() == 2 * 5 * 7 - 1


def test_a_seed_fixes_everything() -> None:
    image, label = coded()
    outs = []
    for seed in (5, 6, 5):
        transform: A.Compose = training_transform(64, 48, scales=SCALES, jitter=0.5, flip=0.5)
        transform.set_random_seed(seed)
        outs.append(transform(image=image, mask=label))
    assert np.array_equal(outs[0]["image"], outs[2]["image"])
    assert np.array_equal(outs[0]["mask"], outs[2]["mask"])
    assert not np.array_equal(outs[0]["image"], outs[1]["image"])


class TestRotationAndCorruption:
    """On a picture whose colour is its label, so that one tells where the other went."""

    def square(self) -> tuple[np.ndarray, np.ndarray]:
        label = np.zeros((64, 64), np.uint8)
        label[16:48, 16:48] = 3
        label[16:48, 16:32] = 4  # its left half
        return np.where(label[..., None] > 0, np.uint8(255), np.uint8(40)).repeat(3, 2), label

    def shown(self, seed: int, **change: float) -> tuple[np.ndarray, np.ndarray]:
        transform = training_transform(64, 64, scales=[1], jitter=0, flip=0, **change)
        transform.set_random_seed(seed)
        image, label = self.square()
        out = transform(image=image, mask=label)
        return out["image"], out["mask"]

    def test_image_and_label_turn_together_about_the_middle(self) -> None:
        angles = []
        for seed in range(20):
            image, label = self.shown(seed, rotate=30)
            square = np.isin(label, (3, 4))
            y, x = np.nonzero(square)
            assert (y.mean(), x.mean()) == pytest.approx((31.5, 31.5), abs=0.3)
            assert np.isin(label, (0, 3, 4, 255)).all()
            # All but the pixels of the edge, where the image is interpolated.
            bright = image[..., 0] > 147
            assert (bright == square).mean() > 0.97
            assert (image[label == 255] <= 40).all()
            y, x = np.nonzero(label == 4)
            angles.append(math.degrees(math.atan2(31.5 - y.mean(), 31.5 - x.mean())))
        assert max(map(abs, angles)) <= 31
        assert max(angles) > 10
        assert min(angles) < -10

    def test_as_many_crops_as_wanted_are_corrupted_and_no_label_is(self) -> None:
        plain, label = self.square()
        changed = 0
        for seed in range(300):
            image, mask = self.shown(seed, corrupt=0.4)
            assert np.array_equal(mask, label)
            changed += not np.array_equal(image, plain)
        # 300 draws at 0.4; grey, one of seven, changes nothing here: 103 +- 8.2, with three deviations of room.
        assert 78 <= changed <= 128

    @pytest.mark.parametrize("number", range(7))
    def test_no_corruption_moves_the_image_from_under_its_label(self, number: int) -> None:
        transform = corruption(1).transforms[number]
        image, label = self.square()
        for seed in range(20):
            transform.set_random_seed(seed)
            out = transform(image=image, mask=label)
            assert out["image"].dtype == np.uint8
            assert out["image"].shape == image.shape
            assert np.array_equal(out["mask"], label)
            light = out["image"][..., 1].astype(float) - float(out["image"][0, 0, 1])
            if isinstance(transform, A.GaussNoise):
                light[light < 60] = 0
            rows, columns = np.mgrid[:64, :64]
            # The square's own middle is 31.5; Downscale rounds the small side, by half a pixel of 3.3 at most.
            assert (light * columns).sum() / light.sum() == pytest.approx(31.5, abs=0.85)
            assert (light * rows).sum() / light.sum() == pytest.approx(31.5, abs=0.85)

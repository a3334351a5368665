"""Augmentation: left and right on real faces, alignment of image and label, and how often each thing happens."""

import itertools
import math

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.data.backgrounds import Background
from facekp.data.jitter import KINDS
from facekp.data.layout import read_index
from facekp.data.normalisation import normalise
from facekp.data.occluders import Occlude
from facekp.data.transforms import Pipeline, TrainingView, corruption, evaluation_transform, training_transform
from facekp.images import read_image, read_label

SCALES = (0.75, 1, 1.25, 1.5, 1.75, 2)


@pytest.fixture(scope="module")
def faces(real_root):
    """Read 12 real validation faces with both eyes, as image and label."""
    found = []
    for sample in read_index(real_root)["val"]:
        label = read_label(sample.label)
        if {4, 5} <= set(np.unique(label)):
            found.append((read_image(sample.image), label))
        if len(found) == 12:
            return found
    pytest.fail("fewer than 12 validation faces with both eyes")


def test_the_pairs_are_the_attributes_with_a_side():
    assert CELEBAMASK_HQ.pairs == tuple((f"l_{part}", f"r_{part}") for part in ("eye", "brow", "ear"))
    assert [tuple(map(CELEBAMASK_HQ.index, pair)) for pair in CELEBAMASK_HQ.pairs] == [(4, 5), (6, 7), (8, 9)]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_mirroring_real_faces_swaps_left_and_right(faces, flip):
    transform = training_transform(512, 512, scales=[1], jitter=0, flip=flip)
    swapped = np.array([0, 1, 2, 3, 5, 4, 7, 6, 9, 8, *range(10, 19)])
    for image, label in faces:
        assert label.shape == image.shape[:2] == (512, 512)
        out = transform(image=image, mask=label)
        assert np.array_equal(out["image"], image[:, ::-1] if flip else image)
        assert np.array_equal(out["mask"], swapped[label[:, ::-1]] if flip else label)


def near(values, mean, deviation):
    """Check that a mean of independent values lies within four of its deviations."""
    assert np.mean(values) == pytest.approx(mean, abs=4 * deviation / math.sqrt(len(values)))


def test_what_a_view_draws_is_uniform_and_independent():
    """What it does with the draws is `test_loading.test_the_view_is_the_steps_one_by_one`."""
    pipeline = Pipeline([TrainingView(64, scales=SCALES, jitter=0.5, flip=0.5)])
    draws = []
    for seed in range(3000):
        pipeline.set_random_seed(seed)
        draws.append(pipeline.transforms[0].get_params())
    orders = [tuple(kind for kind, _ in draw["steps"]) for draw in draws]
    for choices, among in (
        ([(draw["scale"], draw["mirror"]) for draw in draws], itertools.product(SCALES, (False, True))),
        (orders, itertools.permutations(KINDS)),
    ):
        among = list(among)
        assert set(choices) == set(among)
        for one in among:
            share = 1 / len(among)
            near([choice == one for choice in choices], share, math.sqrt(share * (1 - share)))
    for group in (lambda draw: draw["scale"], lambda draw: draw["mirror"]):
        for value in {group(draw) for draw in draws}:
            of = [draw for draw in draws if group(draw) == value]
            for axis in (0, 1):  # uniform in 0..1: deviation 0.289
                near([draw["place"][axis] for draw in of], 0.5, 0.289)
            for kind in KINDS:  # uniform in 0.5..1.5
                factors = [dict(draw["steps"])[kind] for draw in of]
                near(factors, 1, 0.289)
                assert 0.5 <= min(factors) < 0.52
                assert 1.48 < max(factors) <= 1.5


def test_evaluation_shows_the_whole_image():
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


def test_normalisation_by_hand():
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


def test_a_seed_fixes_everything():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    label, outs = image[..., 0] // 14, []
    for seed in (5, 6, 5):
        transform = training_transform(64, 48, scales=SCALES, jitter=0.5, flip=0.5)
        transform.set_random_seed(seed)
        outs.append(transform(image=image, mask=label))
    assert np.array_equal(outs[0]["image"], outs[2]["image"])
    assert np.array_equal(outs[0]["mask"], outs[2]["mask"])
    assert not np.array_equal(outs[0]["image"], outs[1]["image"])


class TestRotationAndCorruption:
    """On a picture whose colour is its label, so that one tells where the other went."""

    def square(self):
        label = np.zeros((64, 64), np.uint8)
        label[16:48, 16:32], label[16:48, 32:48] = 4, 3
        return np.where(label[..., None] > 0, np.uint8(255), np.uint8(40)).repeat(3, 2), label

    def shown(self, seed, **change):
        transform = training_transform(64, 64, scales=[1], jitter=0, flip=0, **change)
        transform.set_random_seed(seed)
        image, label = self.square()
        out = transform(image=image, mask=label)
        return out["image"], out["mask"]

    def test_image_and_label_turn_together_about_the_middle(self):
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

    @pytest.mark.slow
    def test_as_many_crops_as_wanted_are_corrupted_and_no_label_is(self):
        plain, label = self.square()
        changed = 0
        for seed in range(300):
            image, mask = self.shown(seed, corrupt=0.4)
            assert np.array_equal(mask, label)
            changed += not np.array_equal(image, plain)
        # 300 draws at 0.4; grey, one of seven, changes nothing here: 103 +- 8.2, with three deviations of room.
        assert 78 <= changed <= 128

    def test_an_occluder_is_background_and_nothing_else_changes(self):
        image, label = np.full((96, 80, 3), 250, np.uint8), np.full((96, 80), 17, np.uint8)
        label[:, :10] = 255
        transform, covered = Pipeline([Occlude(0.5)]), []
        for seed in range(60):
            transform.set_random_seed(seed)
            out = transform(image=image, mask=label)
            there = out["mask"] == 0
            assert np.array_equal(out["mask"][~there], label[~there])
            assert (out["mask"][:, :10] == 255).all()
            # The edge is blended over two pixels; one that is covered by less than half keeps its label.
            near = cv2.dilate(there.astype(np.uint8), np.ones((5, 5)))[:, 12:] == 1
            assert (out["image"][:, 12:][~near] == 250).all()
            covered.append(there[:, 10:].mean())
        # 60 draws at 0.5: 30 +- 3.9, with three deviations of room; each hides a part of the face, never all of it.
        assert 18 <= np.count_nonzero(covered) <= 42
        assert max(covered) < 0.7
        # They reach into the middle half: it is where a face is.
        assert np.mean([c for c in covered if c]) > 0.05

    def test_a_face_keeps_its_pixels_on_another_background_which_goes_on_beyond_its_image(self):
        # An image of 40 x 40 pixels in padding of 12: hair from the middle to the upper border, and to the right one.
        image, label = np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 255, np.uint8)
        image[12:52, 12:52], label[12:52, 12:52] = (255, 0, 255), 0
        label[12:36, 24:40] = label[24:36, 24:52] = 13
        image[label == 13] = 250
        wanted = np.zeros((64, 64), np.uint8)
        wanted[12:36, 24:40] = wanted[24:36, 24:52] = 13
        wanted[:12, 24:40] = wanted[24:36, 52:] = 255
        transform, changed = Pipeline([Background(0.5)]), 0
        for seed in range(60):
            transform.set_random_seed(seed)
            out = transform(image=image, mask=label)
            if np.array_equal(out["mask"], label):
                assert np.array_equal(out["image"], image)
                continue
            changed += 1
            assert np.array_equal(out["mask"], wanted)
            face = cv2.erode((wanted > 0).astype(np.uint8), np.ones((13, 13))) == 1  # 4 deviations from the edge
            assert (out["image"][face] == 250).all()  # beyond the image, its mirror image
            beside = cv2.dilate((wanted > 0).astype(np.uint8), np.ones((13, 13))) == 0
            assert not (out["image"][beside] == (255, 0, 255)).all(1).any()
        assert 18 <= changed <= 42  # 60 draws at 0.5: 30 +- 3.9, with three deviations of room

    def test_clothes_go_on_below_the_image_as_a_body(self):
        # An image of 40 x 40 pixels in padding of 40: green clothes at the lower border, to the left border's half.
        image, label = np.zeros((120, 120, 3), np.uint8), np.full((120, 120), 255, np.uint8)
        label[40:80, 40:80] = 0
        label[60:80, 40:70], label[70:80, 70:76] = 18, 13
        image[label == 18] = 30, 200, 40
        transform, alike = Pipeline([Background(1)]), 0
        for seed in range(20):
            transform.set_random_seed(seed)
            out = transform(image=image, mask=label)
            body, own = out["mask"] == 18, label == 18
            assert np.array_equal(body[40:80, 40:80], own[40:80, 40:80])
            assert body[80:, 44:70].all()  # below the clothes, but for an arm that leans inwards
            assert (out["mask"][80:, 70:76] == 255).all()  # below the hair
            assert not body[:60].any()  # the left shoulder begins at the border
            # The shoulders are 40 to 76 pixels wide, from 22 to 40 and 80 to 98; arms lean by -4 to 12 pixels.
            rows = body[80:, :].sum(1)
            assert (rows >= 26).all()
            assert 38 - 6 <= rows.max() <= 76 + 2 * 12 - 6 + 2
            assert not body[80:, :9].any()
            assert not body[80:, 111:].any()
            below = out["image"][84:, 44:66].reshape(-1, 3)
            alike += abs(np.median(below, 0) - (30, 200, 40)).max() <= 25
        assert alike >= 18  # drawn straps, pockets and badges may cover more than half of it

    def test_classes_without_clothes_draw_no_body(self):
        classes = Classes.of(["background", "hair"])
        label = np.full((64, 64), 255, np.uint8)
        label[12:52, 12:52] = 1
        transform = Pipeline([Background(1, classes)])
        transform.set_random_seed(0)
        out = transform(image=np.zeros((64, 64, 3), np.uint8), mask=label)
        assert np.array_equal(out["mask"] == 1, label == 1)

    @pytest.mark.parametrize("number", range(7))
    def test_no_corruption_moves_the_image_from_under_its_label(self, number):
        transform = corruption(1).transforms[number]
        image, label = self.square()
        for seed in range(20):
            transform.set_random_seed(seed)
            out = transform(image=image, mask=label)
            assert (out["image"].dtype, out["image"].shape) == (np.uint8, image.shape)
            assert np.array_equal(out["mask"], label)
            light = out["image"][..., 1].astype(float) - float(out["image"][0, 0, 1])
            if isinstance(transform, A.GaussNoise):
                light[light < 60] = 0
            rows, columns = np.mgrid[:64, :64]
            # The square's own middle is 31.5; Downscale rounds the small side, by half a pixel of 3.3 at most.
            for axis in (rows, columns):
                assert (light * axis).sum() / light.sum() == pytest.approx(31.5, abs=0.85)

"""Rare classes come more often, as worked out by hand; the stream stays a function of seed and position."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facekp.data import balance
from facekp.data.balance import find_classes, repeat_factors
from facekp.data.layout import Sample
from facekp.data.sampler import TrainingStream
from facekp.errors import DataError
from facekp.images import read_label

HAT, EARRING, SKIN = 14, 15, 1


def sixteen():
    """Return 16 images: skin in all, a hat in one, earrings in that one and three others."""
    table = np.zeros((16, 19), bool)
    table[:, SKIN] = table[0, HAT] = table[:4, EARRING] = True
    return table


class TestFactors:
    def test_by_hand(self):
        # hat: 1/16, earring: 4/16. sqrt(t / f) at t = 1/4: 2 and 1; at t = 1: 4 and 2; t / f at 1/4: 4 and 1.
        cases = ("sqrt", 0.25, 2, 1), ("sqrt", 1, 4, 2), ("linear", 0.25, 4, 1), ("linear", 1, 16, 4), ("sqrt", 0, 1, 1)
        for how, below, hat, earring in cases:  # at last, no class lies below the share
            want = [hat, earring, earring, earring, *[1] * 12]
            assert repeat_factors(sixteen(), how, below).tolist() == pytest.approx(want)


def passes(repeats, count):
    length = round(repeats.sum())
    draws = list(TrainingStream(len(repeats), repeats=repeats, seed=5, length=count * length, global_batch=1))
    return [Counter(index for index, _ in draws[i * length : (i + 1) * length]) for i in range(count)]


class TestStream:
    def test_whole_factors_are_met_in_every_pass(self):
        repeats = repeat_factors(sixteen(), "linear", 1)  # 16, 4, 4, 4 and twelve ones: 40 draws
        for found in passes(repeats, 5):
            assert found == {0: 16, 1: 4, 2: 4, 3: 4, **{i: 1 for i in range(4, 16)}}

    def test_broken_factors_are_rounded_up_as_often_as_they_say(self):
        repeats = np.array([2.5, 1.25, 1.25, 1, 1, 1])  # 8 draws a pass
        found = passes(repeats, 2000)
        for image, share in ((0, 0.5), (1, 0.25), (2, 0.25)):
            low = int(repeats[image])
            counts = Counter(one[image] for one in found)
            assert set(counts) == {low, low + 1}
            assert counts[low + 1] / 2000 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 2000))
        assert all(one[image] == 1 for one in found for image in (3, 4, 5))

    def test_a_pass_whose_length_is_broken_is_rounded(self):
        repeats = np.array([1.7, 1, 1, 1])  # 4.7: 5 draws, so each comes 5 / 4.7 as often
        means = np.mean([[one[i] for i in range(4)] for one in passes(repeats, 3000)], axis=0)
        assert means == pytest.approx(repeats * 5 / 4.7, abs=0.04)

    def test_copies_are_spread_over_the_pass(self):
        repeats = repeat_factors(sixteen(), "linear", 1)
        draws = [i for i, _ in TrainingStream(16, repeats=repeats, seed=0, length=40 * 500, global_batch=1)]
        places = [k % 40 for k, index in enumerate(draws) if index == 0]
        assert np.mean(places) == pytest.approx(19.5, abs=4 * 11.5 / np.sqrt(len(places)))
        assert min(Counter(places).values()) > 100  # 200 at each on average

    def test_augmentations_are_those_of_the_position(self):
        settings = {"seed": 3, "length": 40, "global_batch": 4}
        even, balanced = (list(TrainingStream(6, repeats=r, **settings)) for r in (None, np.full(6, 1.5)))
        assert [seed for _, seed in even] == [seed for _, seed in balanced]


class TestClasses:
    @pytest.fixture
    def samples(self, tmp_path):
        labels = ([0, 1, 255], [14], [15, 16])
        found = [Sample(str(i), "train", tmp_path / f"{i}.jpg", tmp_path / f"{i}.png") for i in range(len(labels))]
        for sample, ids in zip(found, labels, strict=True):
            sample.image.write_bytes(b"never read")
            mask = np.zeros((40, 40), np.uint8)
            mask[0, : len(ids)] = ids  # a pixel is enough
            Image.fromarray(mask).save(sample.label)
        return found

    def test_they_are_read_off_the_labels(self, samples, tmp_path):
        found = find_classes(samples, tmp_path / "cache")
        assert found.shape == (3, 19)
        assert [np.flatnonzero(row).tolist() for row in found] == [[0, 1], [0, 14], [0, 15, 16]]
        with pytest.raises(DataError, match=r"gone\.png"):
            find_classes([replace(samples[0], label=tmp_path / "gone.png")], tmp_path / "cache")

    def test_once(self, samples, tmp_path, monkeypatch):
        first = find_classes(samples, tmp_path / "cache")
        read = []
        monkeypatch.setattr(balance, "read_label", lambda path, classes: read.append(path.stem) or read_label(path))
        np.testing.assert_array_equal(find_classes(samples, tmp_path / "cache"), first)
        assert read == []
        # Another set of images, or a label that was made anew, is another question.
        find_classes(samples[:2], tmp_path / "cache")
        samples[1].label.write_bytes(samples[2].label.read_bytes())
        find_classes(samples, tmp_path / "cache")
        assert read == ["0", "1", "0", "1", "2"]

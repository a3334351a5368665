"""What is added to each class's score for the highest mean F1."""

import json

import numpy as np
import pytest
import torch

from facekp.classes import CELEBAMASK_HQ
from facekp.export import release
from facekp.export.class_offsets import add_offsets, fit_offsets, sample_scores
from facekp.models import Heads, build_model, fuse, model_names
from facekp.weights.load import load_network


def mean_f1(scores, labels):
    """Return the mean F1 of all classes but the first, by its definition."""
    predicted = scores.argmax(1)
    f1 = []
    for c in range(1, scores.shape[1]):
        hit = ((predicted == c) & (labels == c)).sum()
        f1.append(2 * hit / max(1, (predicted == c).sum() + (labels == c).sum()))
    return float(np.mean(f1))


class TestFit:
    def test_a_class_without_a_pixel_keeps_its_score(self):
        offsets = fit_offsets(torch.randn(50, 3), torch.tensor([0, 1] * 25))
        assert offsets[2] == offsets[0] == 0

    def test_as_by_trying_every_offset(self):
        rng = np.random.default_rng(3)
        labels = rng.choice(4, 400, p=[0.6, 0.25, 0.12, 0.03])
        scores = rng.normal(size=(400, 4)) + 1.5 * np.eye(4)[labels] + np.log([0.6, 0.25, 0.12, 0.03])
        wanted = np.zeros(4)
        for _ in range(3):
            for own in (1, 2, 3):
                tried = []
                for value in np.linspace(-4, 4, 161):
                    wanted[own] = value
                    tried.append(mean_f1(scores + wanted, labels))
                best = np.flatnonzero(np.isclose(tried, max(tried), rtol=0, atol=1e-12))
                wanted[own] = np.linspace(-4, 4, 161)[best[len(best) // 2]]
        offsets = fit_offsets(torch.from_numpy(scores), torch.from_numpy(labels)).numpy()
        np.testing.assert_allclose(offsets, wanted, atol=1e-5)
        assert mean_f1(scores + offsets, labels) > mean_f1(scores, labels) + 0.1


class Constant(torch.nn.Module):
    """Two score maps, at half and at a quarter of the resolution, that say where a pixel lies."""

    def forward(self, images, *, auxiliary):
        assert not auxiliary
        n, _, height, width = images.shape
        rows = torch.arange(height // 2.0).view(1, 1, -1, 1).expand(n, 19, -1, width // 2)
        return Heads((rows, torch.ones(n, 19, height // 4, width // 4)))


def test_samples_every_fourth_pixel_that_has_a_label():
    label = torch.arange(64).view(8, 8) % 19
    label[2, 2] = 255
    batch = {"image": torch.zeros(1, 8, 8, 3, dtype=torch.uint8), "label": label[None].to(torch.uint8)}
    scores, labels = sample_scores(Constant(), [batch], torch.device("cpu"))  # type: ignore[arg-type]
    assert labels.tolist() == [22 % 19, 50 % 19, 54 % 19]
    # Rows 2 and 6 of 8 lie at 0.75 and 2.75 of 4; the other map adds 1.
    assert (scores.shape, scores[:, 0].tolist()) == ((3, 19), [1.75, 3.75, 3.75])


SLOW = {"smp", "residual_attention"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in model_names()])
def test_adds_to_the_sum_of_the_heads(name):
    if name == "smp":
        pytest.importorskip("segmentation_models_pytorch")
    net = build_model(name).eval().double()
    images, offsets = torch.randn(1, 3, 64, 64).double(), torch.linspace(-1, 2, 19).double()
    with torch.inference_mode():
        before = fuse(net(images).predict, (64, 64))
        add_offsets(net, offsets)
        after = fuse(net(images).predict, (64, 64))
    torch.testing.assert_close(after - before, offsets.view(1, 19, 1, 1).expand(1, 19, 64, 64), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_release_with_them_is_not_worse_on_what_they_were_fitted_to(straight, tiny_root, tmp_path):
    found = {}
    for images in (0, 5):
        out = tmp_path / f"{images}.safetensors"
        where = [f"ckpt={straight / 'checkpoints' / 'best.ckpt'}", f"out={out}", f"data.root={tiny_root}"]
        release.main([*where, f"offsets={images}", "split=train", "size=96", "device=cpu", "data.workers=0"])
        found[images] = json.loads(out.with_suffix(".json").read_text())
    assert "offsets" not in found[0]
    offsets = found[5]["offsets"]
    assert (offsets["images"], list(offsets["values"])) == (5, list(CELEBAMASK_HQ.names))
    assert found[5]["scores"]["mean_f1"] > found[0]["scores"]["mean_f1"]
    images = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        nets = (load_network(tmp_path / f"{n}.safetensors")[0] for n in (0, 5))
        plain, shifted = (fuse(net(images).predict, (64, 64)) for net in nets)
    want = torch.tensor(list(offsets["values"].values()))
    torch.testing.assert_close((shifted - plain)[0, :, 0, 0], want, atol=6e-3, rtol=0)

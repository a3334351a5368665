"""Scores of a data set against per-class loops in numpy, and by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.losses import reference

from facekp.classes import CELEBAMASK_HQ
from facekp.data.normalisation import normalise
from facekp.losses import DeepSupervision
from facekp.models import Heads, build_model
from facekp.training.metrics import ParsingMetrics, SplitMetrics, network_scorer

NAMES = list(CELEBAMASK_HQ.names)


def by_loops(predicted, labels):
    """Return all scores from the pixels themselves, class by class; nan for absent classes."""
    predicted, labels = predicted[labels != 255], labels[labels != 255]
    iou, f1 = {}, {}
    for class_id, name in enumerate(CELEBAMASK_HQ.names):
        p, t = predicted == class_id, labels == class_id
        both, either = (p & t).sum(), (p | t).sum()
        iou[name] = both / either if either else math.nan
        precision = both / p.sum() if p.any() else 0.0
        recall = both / t.sum() if t.any() else 0.0
        f1[name] = (2 * precision * recall / (precision + recall) if both else 0.0) if either else math.nan
    there = [v for v in iou.values() if not math.isnan(v)]
    return {
        "miou": float(np.mean(there)),
        "mean_f1": float(np.nanmean([v for name, v in f1.items() if name != "background"])),
        "pixel_accuracy": float((predicted == labels).mean()),
        "classes": len(there),
        **{f"iou/{name}": v for name, v in iou.items()},
        **{f"f1/{name}": v for name, v in f1.items()},
    }


def random_maps(n, classes=19):
    """Return predictions and labels; two thirds of the pixels agree, a tenth are ignored, classes are uneven."""
    labels = (torch.rand(n, 24, 32) ** 2 * classes).long()
    predicted = torch.where(torch.rand(labels.shape) < 2 / 3, labels, (torch.rand(labels.shape) * classes).long())
    labels[torch.rand(labels.shape) < 0.1] = 255
    return predicted, labels


@pytest.mark.parametrize("classes", [19, 7])
def test_against_loops_over_several_updates(classes):
    metrics = ParsingMetrics()
    metrics.update(*random_maps(1))
    metrics.reset()
    batches = [random_maps(n, classes) for n in (4, 4, 1)]
    for predicted, labels in batches:
        metrics.update(predicted, labels)
    want = by_loops(*(torch.cat(maps).numpy() for maps in zip(*batches, strict=True)))
    assert want["classes"] == classes
    for _ in range(2):  # `compute` keeps what was counted
        scores = {name: value.item() for name, value in metrics.compute().items()}
        assert scores == pytest.approx(want, rel=1e-6, nan_ok=True)


def test_a_class_that_is_only_predicted_or_only_true_counts_as_zero():
    metrics = ParsingMetrics()
    metrics.update(torch.tensor([[[0, 14]]]), torch.tensor([[[0, 3]]]))
    scores = metrics.compute()
    assert scores["iou/hat"].item() == scores["iou/eye_g"].item() == scores["f1/hat"].item() == 0
    assert scores["miou"].item() == pytest.approx(1 / 3)
    assert scores["mean_f1"].item() == 0
    assert scores["classes"].item() == 3


def test_losses_are_averaged_over_images_and_blank_ones_do_not_count():
    metrics = SplitMetrics(["fine", "coarse"], "val/")
    scores = torch.zeros(3, 19, 1, 1)
    scores[:, 1] = 1
    labels = torch.ones(3, 4, 4, dtype=torch.int64)
    for images, loss in ((2, 1.0), (1, 4.0)):
        part = {"loss": torch.tensor(3 * loss), "loss_fine": torch.tensor(loss), "loss_coarse": torch.tensor(2 * loss)}
        metrics.count(Heads((scores[:images],)), labels[:images], part)
    labels[:] = 255
    metrics.count(Heads((scores,)), labels, dict.fromkeys(part, torch.tensor(0.0)))
    found = metrics.compute()
    # Two images of loss 1 and one of 4: 2 in the mean.
    assert [found[f"val/{name}"].item() for name in ("loss", "loss_fine", "loss_coarse")] == [6, 2, 4]
    assert found["val/pixel_accuracy"].item() == 1
    assert "val/loss" not in SplitMetrics(None, "val/").compute()


class Largest(torch.nn.Module):
    """The largest score as a loss."""

    def forward(self, scores, labels):
        return scores.max()


def test_deep_supervision_adds_up_every_head():
    maps = [torch.full((1, 2, 1, 1), value) for value in (1.0, 2.0, 4.0)]
    heads, labels = Heads((maps[0],), (maps[1], maps[2])), torch.zeros(1, 4, 4)
    losses = DeepSupervision(Largest(), ["fine", "coarse", "coarser"])(heads, labels)
    assert losses == {"loss": 7, "loss_fine": 1, "loss_coarse": 2, "loss_coarser": 4}
    with pytest.raises(ValueError, match="argument"):  # a name for each head, or the logs would be wrong
        DeepSupervision(Largest(), ["fine"])(heads, labels)


def test_a_network_is_scored_with_the_loss_of_its_run():
    net = build_model("fpn").eval()
    labels = torch.nn.functional.pad(random_maps(2)[1], (0, 32, 0, 40), value=255)
    pixels = {"image": torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8), "label": labels}
    with torch.inference_mode():
        heads = net(normalise(pixels["image"])).maps
    found = {}
    for threshold in (0.7, 0.01):  # nearly every pixel is hard, or so few are that the largest sixteenth counts
        about = {"size": 64, "classes": NAMES, "loss": {"name": "ohem", "threshold": threshold}}
        found[threshold] = network_scorer(net, about, torch.device("cpu"))([pixels])["loss"]
        want = sum(reference(scores, labels, threshold).item() for scores in heads)
        assert found[threshold] == pytest.approx(want, rel=1e-5)
    assert found[0.01] > found[0.7] + 0.1
    before = {"size": 64, "classes": NAMES}  # files of earlier versions
    assert network_scorer(net, before, torch.device("cpu"))([pixels])["loss"] == found[0.7]


@pytest.mark.slow
def test_commands_check_their_settings_and_runs_are_compared_without_torch():
    modules = "facekp.compare.report, facekp.evaluate, facekp.models.__main__"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

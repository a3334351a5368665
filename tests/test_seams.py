"""A network, a loss, an optimiser or a schedule of one's own: what is registered trains, with its settings checked."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Rprop

from facekp.data.dataset import Batch
from facekp.errors import ConfigError
from facekp.losses.registry import LOSSES
from facekp.models import Heads, Network
from facekp.models.registry import NETWORKS
from facekp.training.module import FaceParsing
from facekp.training.optim.build import OPTIMIZERS, SCHEDULES

MODEL, LOSS = {"name": "colours"}, {"name": "scaled", "weight": 5}
RATES = {"lr": 0.1, "warmup_steps": 0, "head_lr_mult": 2}
OPTIM = {"name": "rprop", "schedule": "halving", "grow": 1.5, "every": 3, **RATES}


class Colours(Network):
    """One colour a class, at half the resolution; a second head that only helps training."""

    head_names = ("fine", "coarse")

    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(3, 19, kernel, stride) for stride in (2, 4))

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        fine, coarse = self.heads
        return Heads((fine(images),), (coarse(images),) if auxiliary else ())


class Scaled(nn.Module):
    """The mean score, `weight` times."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.weight * scores.mean()


def rprop(groups: list[dict[str, Any]], lr: float, *, grow: float = 1.2, fused: bool = True) -> Rprop:
    for group in groups:
        del group["weight_decay"]
    return Rprop(groups, lr=lr, etas=(0.5, grow))


def halving(total_steps: int, every: int) -> Callable[[int], float]:
    return lambda step: 0.5 ** (step // every)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    own = {"colours": (NETWORKS, Colours), "scaled": (LOSSES, Scaled),
           "rprop": (OPTIMIZERS, rprop), "halving": (SCHEDULES, halving)}  # fmt: skip
    for name, (registry, found) in own.items():
        registry.names()  # modules register when they are first imported
        monkeypatch.setattr(registry, "_found", dict(registry._found))
        assert registry.register(name)(found) is found


def test_what_is_registered_trains():
    module = FaceParsing(MODEL, LOSS, OPTIM, total_steps=9, size=32)
    for head in module.net.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, 2.0)
    batch: Batch = {"image": torch.rand(2, 3, 32, 32), "label": torch.zeros(2, 32, 32, dtype=torch.int64)}
    # Every score is 2, and 5 * 2 is the loss of each head.
    assert module._step(batch)[0] == {"loss": 20, "loss_fine": 10, "loss_coarse": 10}
    module.trainer = type("Trainer", (), {"gradient_clip_val": None})()
    found = module.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    assert optimizer.defaults["etas"] == (0.5, 1.5)
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert rates == [[0.2, 0.2]] * 3 + [[0.1, 0.1]] * 2  # all is head: 0.1 twice, halved every 3 steps


def test_terms_of_the_initial_weights_outlive_a_resume():
    first, again = (FaceParsing(MODEL, LOSS, OPTIM, total_steps=9, size=32) for _ in range(2))
    first.terms = "Ask first."
    saved: dict[str, Any] = {}
    first.on_save_checkpoint(saved)
    again.on_load_checkpoint(saved)
    assert again.terms == saved["facekp"]["terms"] == "Ask first."


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("model", {"depth": 3}, r"model\.depth is not a setting of colours: it has kernel"),
        ("model", {"kernel": "big"}, r"model\.kernel is 'big': give a value of type int"),
        ("loss", {"weight": "big"}, r"loss\.weight is 'big': give a value of type float"),
        ("optim", {"power": 3}, r"optim\.power is not a setting of rprop with halving: it has name.*every"),
        ("optim", {"lr": -1}, r"optim\.lr is -1\.0: .*above 0"),
    ],
)
def test_their_settings_are_checked_before_any_data_is_read(group, change, message):
    settings = {"model": MODEL, "loss": LOSS, "optim": OPTIM}
    settings[group] = {**settings[group], **change}
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        FaceParsing(**settings, total_steps=9, size=32)

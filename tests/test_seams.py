"""Extending facekp: a network, a loss, an optimiser or a schedule is one module and one file in conf/."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from runs import REPOSITORY

from facekp.config import Config
from facekp.data.dataset import Batch
from facekp.errors import ConfigError
from facekp.losses.registry import LOSSES
from facekp.models.registry import NETWORKS
from facekp.registry import Registry
from facekp.training.compose import read_config, register_schema
from facekp.training.module import FaceParsing
from facekp.training.optim.build import OPTIMIZERS, SCHEDULES
from facekp.training.run import build_module

NETWORK = '''
"""One colour a class, at half the resolution; a second head that only helps training."""

from torch import Tensor, nn

from facekp.models import Heads, Network, register

@register("colours")
class Colours(Network):
    head_names = ("fine", "coarse")

    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(3, 19, kernel, stride) for stride in (2, 4))

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        fine, coarse = self.heads
        return Heads((fine(images),), (coarse(images),) if auxiliary else ())
'''
LOSS = '''
from torch import Tensor, nn

from facekp.losses import register_loss

@register_loss("scaled")
class Scaled(nn.Module):
    """The mean score, `weight` times."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.weight * scores.mean()
'''
OPTIMISER = """
from torch.optim import Rprop

from facekp.training.optim.build import register_optimizer, register_schedule

@register_optimizer("rprop")
def rprop(groups, lr, *, grow: float = 1.2, fused: bool = True) -> Rprop:
    for group in groups:
        del group["weight_decay"]
    return Rprop(groups, lr=lr, etas=(0.5, grow))

@register_schedule("halving")
def halving(total_steps: int, every: int):
    return lambda step: 0.5 ** (step // every)
"""
SEAMS: dict[str, tuple[tuple[Registry[Any], ...], str, str]] = {
    "model/colours": ((NETWORKS,), NETWORK, "name: colours\nkernel: 1"),
    "loss/scaled": ((LOSSES,), LOSS, "name: scaled\nweight: 3"),
    "optim/rprop": (
        (OPTIMIZERS, SCHEDULES),
        OPTIMISER,
        "name: rprop\nschedule: halving\nlr: 0.1\nwarmup_steps: 0\nhead_lr_mult: 2\ngrow: 1.5\nevery: 3",
    ),
}
Composed = Callable[..., Config]


@pytest.fixture
def composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Composed:
    """Return a function that composes settings, after the two files of every seam were put in their folders."""
    for place, (registries, source, yaml) in SEAMS.items():
        group, name = place.split("/")
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.py").write_text(source)
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(yaml)
        for registry in registries:
            registry.names()  # modules register when they are first imported
            monkeypatch.setattr(registry, "_found", dict(registry._found))
            monkeypatch.setattr(registry, "_searched", False)
        package = importlib.import_module(registries[0].package)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / group)])
        monkeypatch.delitem(sys.modules, f"{registries[0].package}.{name}", raising=False)
    register_schema()

    def compose_with(*overrides: str) -> Config:
        search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
        with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
            return read_config(compose("config", [search, f"output_dir={tmp_path}", *overrides]))

    return compose_with


def losses_of(module: FaceParsing, batch: Batch) -> dict[str, float]:
    losses, _ = module._step(batch)
    return {name: loss.item() for name, loss in losses.items()}


def test_every_seam_takes_two_files(composed: Composed) -> None:
    module = build_module(composed("model=colours", "loss=scaled", "optim=rprop", "loss.weight=5"))
    for head in module.net.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, 2.0)
    batch: Batch = {"image": torch.rand(2, 3, 32, 32), "label": torch.zeros(2, 32, 32, dtype=torch.int64)}
    # Every score is 2, and 5 * 2 is the loss of each head.
    assert losses_of(module, batch) == {"loss": 20, "loss_fine": 10, "loss_coarse": 10}
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=colours", "+model.depth=3"], r"model\.depth is not a setting of colours: it has kernel"),
        (["model=colours", "model.kernel=big"], r"model\.kernel is 'big': give a value of type int"),
        (["loss=scaled", "+loss.depth=3"], r"loss\.depth is not a setting of scaled: it has weight"),
        (["loss=scaled", "loss.weight=big"], r"loss\.weight is 'big': give a value of type float"),
        (["optim=rprop", "+optim.power=3"], r"optim\.power is not a setting of rprop with halving: it has name.*every"),
        (["optim=rprop", "optim.grow=big"], r"optim\.grow is 'big': give a value of type float"),
        (["optim=rprop", "optim.lr=-1"], r"optim\.lr is -1\.0: .*above 0"),
    ],
)
def test_their_settings_are_checked_before_any_data_is_read(
    composed: Composed, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        build_module(composed(*overrides))

"""The learning rate of every step, which parameters decay, and SGD's arithmetic, all by hand."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from facekp.errors import ConfigError
from facekp.models import build_model
from facekp.training.optim.build import SCHEDULES, build_optimizer

# Warm-up from 1e-5 to 1e-2 in 100 steps: 1e-5 * 1000^(i/100). Then 1e-2 * (1 - i/4000)^0.9.
RATES = {
    0: 1e-5,
    50: 3.16227766016838e-4,  # 1e-5 * sqrt(1000)
    99: 9.33254300796991e-3,  # 1e-2 * 1000^(-1/100) = 1e-2 * 10^-0.03
    100: 9.77471613750350e-3,  # 1e-2 * 0.975^0.9
    2000: 5.35886731268147e-3,  # 1e-2 * 0.5^0.9
    3999: 5.72988634748082e-6,  # 1e-2 * 0.00025^0.9
    4000: 0.0,
}


def build(net: nn.Module, total_steps: int = 4000, **settings: float | str) -> tuple[Optimizer, LambdaLR]:
    """Build the optimiser of `net` with one rate for all."""
    return build_optimizer(net, {"head_lr_mult": 1, **settings}, total_steps=total_steps)


def test_learning_rate_of_every_step() -> None:
    net = nn.Conv2d(3, 4, 3)
    sgd, schedule = build(net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    found = {}
    for step in range(4001):
        found[step] = [group["lr"] for group in sgd.param_groups]
        sgd.step()
        schedule.step()
    for step, rate in RATES.items():
        assert found[step] == pytest.approx([rate, rate], rel=1e-12, abs=1e-20), step
    rates = [rate for rate, _ in found.values()]
    assert all(a < b for a, b in pairwise(rates[:101]))  # rises, to the end of the warm-up
    assert all(a > b for a, b in pairwise(rates[100:]))  # then falls, to the last step


@pytest.mark.parametrize(
    ("name", "settings", "factors"),
    [
        # (1 - 5/10)^2 = 1/4; past the end it stays 0 instead of growing or turning complex.
        ("poly", {"power": 2}, {0: 1, 5: 0.25, 10: 0, 12: 0}),
        # (1 + cos(pi i / 10)) / 2 is 3/4 at a third of the way, 1/2 in the middle; of 0.2 to 1 that is 0.6.
        ("cosine", {}, {0: 1, 10 / 3: 0.75, 5: 0.5, 10: 0, 12: 0}),
        ("cosine", {"floor": 0.2}, {0: 1, 5: 0.6, 10: 0.2, 12: 0.2}),
    ],
)
def test_schedules_by_hand(name: str, settings: dict[str, float], factors: dict[float, float]) -> None:
    factor = SCHEDULES[name](10, **settings)
    assert [factor(step) for step in factors] == pytest.approx(list(factors.values()), rel=1e-12, abs=1e-16)


def test_without_warm_up() -> None:
    _, schedule = build(nn.Linear(1, 1), 10, warmup_steps=0, lr=0.1, power=2)
    assert schedule.get_last_lr() == pytest.approx([0.1, 0.1], rel=1e-12)


def test_head_rate_is_a_multiple_through_the_schedule() -> None:
    net = nn.ModuleDict({"trunk": nn.Linear(2, 2), "heads": nn.ModuleList([nn.Linear(2, 2)])})
    sgd, _ = build(net, head_lr_mult=10)
    # Step 0 of the warm-up: 1e-5 for the trunk, ten times as much for the heads.
    rates = {id(p): group["lr"] for group in sgd.param_groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        assert rates[id(parameter)] == pytest.approx(1e-4 if name.startswith("heads") else 1e-5, rel=1e-12)


@pytest.mark.parametrize("name", ["resnet18", "residual_attention"])
def test_kernels_decay_and_nothing_else(name: str) -> None:
    with torch.device("meta"):
        net = build_model(name)
    sgd, _ = build(net, warmup_steps=0, head_lr_mult=3)
    groups: dict[int, list[dict[str, float]]] = {}
    for group in sgd.param_groups:
        for parameter in group["params"]:
            groups.setdefault(id(parameter), []).append(group)
    assert all(len(g) == 1 for g in groups.values())
    assert len(groups) == len(list(net.parameters()))
    kinds = {"kernel": 0, "conv bias": 0, "norm": 0}
    for path, layer in net.named_modules():
        rate = 0.03 if path.startswith("heads.") else 0.01
        if isinstance(layer, nn.Conv2d):
            (group,) = groups[id(layer.weight)]
            assert (group["weight_decay"], group["lr"], group["momentum"]) == (5e-4, rate, 0.9), path
            kinds["kernel"] += 1
        if isinstance(layer, nn.BatchNorm2d) or (isinstance(layer, nn.Conv2d) and layer.bias is not None):
            mine = [layer.bias] if isinstance(layer, nn.Conv2d) else [layer.weight, layer.bias]
            for parameter in mine:
                (group,) = groups[id(parameter)]
                assert (group["weight_decay"], group["lr"], group["momentum"]) == (0, rate, 0.9), path
            kinds["conv bias" if isinstance(layer, nn.Conv2d) else "norm"] += len(mine)
    assert sum(kinds.values()) == len(groups)
    assert kinds["conv bias"] == 3


def test_frozen_parameters_are_left_out() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    sgd, _ = build(net)
    assert {id(p) for g in sgd.param_groups for p in g["params"]} == {id(p) for p in net[1].parameters()}


def test_two_steps_by_hand() -> None:
    net = nn.ModuleDict({"trunk": nn.Linear(1, 1), "heads": nn.ModuleList([nn.Linear(1, 1)])}).double()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    sgd, _ = build(net, warmup_steps=0, lr=0.1, head_lr_mult=0.5)
    for _ in range(2):
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, 2.0)
        sgd.step()
    # Weight, rate 0.1: d = 2 + 0.0005 * 1 = 2.0005; w = 1 - 0.20005 = 0.79995.
    #   d = 2 + 0.0005 * 0.79995 = 2.000399975; v = 0.9 * 2.0005 + d = 3.800849975; w = 0.79995 - 0.3800849975.
    assert net["trunk"].weight.item() == pytest.approx(0.4198650025, rel=1e-12)
    # Bias: w = 1 - 0.2; v = 0.9 * 2 + 2 = 3.8; w = 0.8 - 0.38.
    assert net["trunk"].bias.item() == pytest.approx(0.42, rel=1e-12)
    # Head's weight, rate 0.05: w = 1 - 0.100025 = 0.899975; d = 2.0004499875; v = 3.8008999875; w - 0.190044999375.
    assert net["heads"][0].weight.item() == pytest.approx(0.709930000625, rel=1e-12)
    assert net["heads"][0].bias.item() == pytest.approx(0.71, rel=1e-12)


def test_two_steps_of_adamw_by_hand() -> None:
    net = nn.Linear(1, 1).double()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    settings = {"name": "adamw", "schedule": "cosine", "beta1": 0.5, "beta2": 0.75}
    adamw, _ = build(net, warmup_steps=0, lr=0.1, weight_decay=0.2, **settings)
    for gradient in (1.0, 3.0):
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        adamw.step()
    # Both moments, corrected: 1 and 1, then (0.25 + 1.5) / 0.75 and (0.1875 + 2.25) / 0.4375: steps 0.1, 0.0988...
    step = 0.1 * (1.75 / 0.75) / (2.4375 / 0.4375) ** 0.5
    assert net.bias.item() == pytest.approx(1 - 0.1 - step, rel=1e-7)  # AdamW adds 1e-8 to the root
    assert net.weight.item() == pytest.approx((0.98 - 0.1) * 0.98 - step, rel=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "sdg"}, r"optim\.name is 'sdg': choose one of adamw, sgd"),
        ({"schedule": "step"}, r"optim\.schedule is 'step': choose one of cosine, poly"),
        ({"beta1": 0.9}, r"optim\.beta1 is not a setting of sgd with poly: it has name, .*, ema, momentum, power"),
        ({"schedule": "cosine", "power": 1}, r"optim\.power is not a setting of sgd with cosine: .*, momentum, floor"),
        ({"momentum": "much"}, r"optim\.momentum is 'much': give a value of type float"),
        ({"name": "adamw", "lr": 0}, r"optim\.lr is 0.*above 0"),
    ],
)
def test_a_bad_setting_names_the_remedy(settings: dict[str, float | str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(nn.Linear(1, 1), **settings)

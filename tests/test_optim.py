"""The learning rate of every step, which parameters decay, and SGD's arithmetic, all by hand."""

import math
from itertools import pairwise

import pytest
import torch
from helpers.networks import on_meta
from torch import nn

from facekp.errors import ConfigError
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


def build(net, total_steps=4000, **settings):
    """Build the optimiser of `net` with one rate for all."""
    return build_optimizer(net, {"head_lr_mult": 1, **settings}, total_steps=total_steps)


def train(net, optimizer, gradients):
    """Take a step for each gradient, the same for all parameters."""
    for gradient in gradients:
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()


def test_learning_rate_of_every_step():
    _, schedule = build(nn.Conv2d(3, 4, 3))
    factor = schedule.lr_lambdas[0]
    rates = [0.01 * factor(step) for step in range(4001)]
    assert {step: rates[step] for step in RATES} == pytest.approx(RATES, rel=1e-12, abs=1e-20)
    assert all(a < b for a, b in pairwise(rates[:101]))  # rises, to the end of the warm-up
    assert all(a > b for a, b in pairwise(rates[100:]))  # then falls, to the last step
    assert build(nn.Linear(1, 1), 10, warmup_steps=0, lr=0.1)[1].get_last_lr() == [0.1, 0.1]


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
def test_schedules_by_hand(name, settings, factors):
    factor = SCHEDULES[name](10, **settings)
    assert [factor(step) for step in factors] == pytest.approx(list(factors.values()), rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("name", ["resnet18", "residual_attention"])
def test_kernels_decay_heads_have_a_rate_of_their_own_and_frozen_ones_none(name):
    net = on_meta(name)
    frozen = next(net.parameters()).requires_grad_(False)
    sgd, _ = build(net, warmup_steps=0, head_lr_mult=3)
    groups = {id(p): group for group in sgd.param_groups for p in group["params"]}
    assert len(groups) == sum(len(group["params"]) for group in sgd.param_groups) == len(list(net.parameters())) - 1
    for path, layer in net.named_modules():
        for kind, parameter in layer.named_parameters(recurse=False):
            if parameter is not frozen:
                group = groups.pop(id(parameter))
                decay = 5e-4 if isinstance(layer, nn.Conv2d) and kind == "weight" else 0
                rate = 0.03 if path.startswith("heads.") else 0.01
                assert (group["weight_decay"], group["lr"], group["momentum"]) == (decay, rate, 0.9), path
    assert groups == {}


def test_two_steps_by_hand():
    net = nn.ModuleDict({"trunk": nn.Linear(1, 1), "heads": nn.ModuleList([nn.Linear(1, 1)])}).double()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    train(net, build(net, warmup_steps=0, lr=0.1, head_lr_mult=0.5)[0], [2.0, 2.0])
    # Weight, rate 0.1: d = 2 + 0.0005 * 1 = 2.0005; w = 1 - 0.20005 = 0.79995.
    #   d = 2 + 0.0005 * 0.79995 = 2.000399975; v = 0.9 * 2.0005 + d = 3.800849975; w = 0.79995 - 0.3800849975.
    assert net["trunk"].weight.item() == pytest.approx(0.4198650025, rel=1e-12)
    # Bias: w = 1 - 0.2; v = 0.9 * 2 + 2 = 3.8; w = 0.8 - 0.38.
    assert net["trunk"].bias.item() == pytest.approx(0.42, rel=1e-12)
    # Head's weight, rate 0.05: w = 1 - 0.100025 = 0.899975; d = 2.0004499875; v = 3.8008999875; w - 0.190044999375.
    assert net["heads"][0].weight.item() == pytest.approx(0.709930000625, rel=1e-12)
    assert net["heads"][0].bias.item() == pytest.approx(0.71, rel=1e-12)


def test_two_steps_of_adamw_by_hand():
    net = nn.Linear(1, 1).double()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    settings = {"name": "adamw", "schedule": "cosine", "beta1": 0.5, "beta2": 0.75}
    train(net, build(net, warmup_steps=0, lr=0.1, weight_decay=0.2, **settings)[0], [1.0, 3.0])
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
def test_a_bad_setting_names_the_remedy(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(nn.Linear(1, 1), **settings)


def test_a_skipped_first_step_leaves_no_momentum(monkeypatch):
    empty = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *args, **kwargs: empty(*args, **kwargs).fill_(math.nan))
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 5.0)
    optimizer, _ = build(net, warmup_steps=0, lr=0.1, momentum=0.5, weight_decay=0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for gradient in (math.inf, 1.0, 1.0):  # the first is skipped, and halves the scale
        net.weight.grad = torch.full_like(net.weight, gradient * scaler.get_scale())
        scaler.scale(torch.zeros(()))  # makes the scale's tensor
        scaler.step(optimizer)
        scaler.update()
    # 5 - 0.1 * 1 - 0.1 * (1 + 0.5 * 1)
    assert net.weight.item() == pytest.approx(4.75)

"""The feature pyramid: its sums from coarse to fine on made-up features, its trunk, and its cost by hand."""

import torch
import torchvision
from helpers.networks import TRUNK_COST, TRUNK_PARAMETERS, Constant, moved_trunk, on_meta, parameters
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from facekp.models import build_model
from facekp.models.registry import multiply_adds


def test_cost():
    pixels = {8: 56**2, 16: 28**2, 32: 14**2}  # at 448
    laterals = 128 * 96 * pixels[8] + 256 * 96 * pixels[16] + 512 * 96 * pixels[32] + 512 * 96  # the mean's is one
    smooth = 96 * 96 * 9 * sum(pixels.values())
    head = 96 * 64 * 9 + 64 * 19
    # The auxiliary heads cost nothing in prediction.
    assert multiply_adds(on_meta("fpn")) == TRUNK_COST + laterals + smooth + head * pixels[8]
    # Weights, and biases of the scores alone; batch-norm has two numbers a channel.
    weights = 96 * (128 + 256 + 512 + 512) + 3 * 96 * 96 * 9 + 3 * head
    norms = 2 * (3 * 96 + 3 * 96 + 3 * 64)
    assert parameters(on_meta("fpn")) == TRUNK_PARAMETERS + weights + norms + 3 * 19


def test_laterals_see_torchvisions_stages(monkeypatch):
    other = moved_trunk()
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: other.state_dict())
    net = build_model("fpn", pretrained="imagenet").eval()
    seen = {}
    for name, module in (*zip(("layer2", "layer3", "layer4"), net.laterals, strict=True), ("mean", net.context)):
        module.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        net(images)
        want = create_feature_extractor(other, ["layer2", "layer3", "layer4"])(images)
    assert all(torch.equal(seen[name], features) for name, features in want.items())
    torch.testing.assert_close(seen["mean"], want["layer4"].mean((2, 3), keepdim=True))


def test_adds_up_from_coarse_to_fine():
    net = build_model("fpn").train()
    columns = torch.arange(3.0).view(1, 1, 1, 3)
    net.context = Constant(lambda x: x[:, :96] * 0 + 10)
    values = 1000, 100, columns
    net.laterals = nn.ModuleList(Constant(lambda x, value=value: x[:, :96] * 0 + value) for value in values)
    net.smooth = nn.ModuleList([Constant(lambda x: x + 5), Constant(lambda x: -x), Constant(lambda x: 2 * x)])
    net.heads = nn.ModuleList(nn.Identity() for _ in range(3))
    with torch.inference_mode():
        fine, middle, coarse = (s[0, 0, 0] for s in net(torch.randn(2, 3, 64, 96)).maps)
    assert coarse.tolist() == [20, 22, 24]
    # Halfway between the centres: a quarter of the way on either side, and flat at the ends.
    assert middle.tolist() == [-120, -120.5, -121.5, -122.5, -123.5, -124]
    assert fine.tolist() == [
        *(885, 884.875, 884.625, 884.25, 883.75, 883.25),
        *(882.75, 882.25, 881.75, 881.375, 881.125, 881),
    ]


def test_gradients_reach_every_parameter():
    net = build_model("fpn").train()
    sum(s.square().mean() for s in net(torch.randn(4, 3, 64, 64)).maps).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []

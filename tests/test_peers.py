"""The networks to compare with: BiSeNet's modules by hand, the wrapper of smp, and a run of each."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from helpers.networks import Constant, moved_trunk, on_meta, parameters
from runs import settings
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from facekp.config import Config
from facekp.errors import CheckpointError, ConfigError
from facekp.models import Network, build_model
from facekp.models.__main__ import main, multiply_adds
from facekp.models.bisenet import AttentionRefinement, FeatureFusion
from facekp.training.history import RunLog, read_rows
from facekp.training.module import FaceParsing
from facekp.training.run import build_data, build_module, build_trainer
from facekp.weights.load import load_network

PACKAGE = "segmentation_models_pytorch"
BISENET = {"name": "bisenet", "pretrained": False}
SMP = {"name": "smp", "arch": "Unet", "encoder": "resnet18", "pretrained": False}


@pytest.fixture(scope="module")
def bisenet() -> Network:
    """Drawing the weights takes seconds, so it is built once; tests that change it build their own."""
    return build_model("bisenet").eval()


class TestBiSeNet:
    def test_one_map_in_evaluation_and_three_in_training(self, bisenet: Network) -> None:
        images = torch.randn(2, 3, 64, 96)
        with torch.inference_mode():
            (main_scores,), _ = bisenet(images)
        assert main_scores.shape == (2, 19, 8, 12)
        assert main_scores.isfinite().all()
        trained = on_meta("bisenet").train()(images.to("meta")).maps
        assert [tuple(s.shape) for s in trained] == [(2, 19, 8, 12), (2, 19, 8, 12), (2, 19, 4, 6)]

    def test_prediction_does_not_pay_for_auxiliary_heads(self) -> None:
        net = on_meta("bisenet")
        with_all = multiply_adds(net)
        net.heads[1] = net.heads[2] = Constant(lambda _: pytest.fail("computed"))
        assert multiply_adds(net) == with_all

    def test_cost(self) -> None:
        # (kernel's weights, output pixels at 448) of every convolution beside the trunk, in the paper's order.
        spatial = [(3 * 64 * 49, 224**2), (64 * 64 * 9, 112**2), (64 * 64 * 9, 56**2), (64 * 128, 56**2)]
        refine = [(256 * 128 * 9, 28**2), (128 * 128, 1), (512 * 128 * 9, 14**2), (128 * 128, 1)]
        rest = [(512 * 128, 1), (128 * 128 * 9, 28**2), (128 * 128 * 9, 56**2)]
        fusion = [(256 * 256, 56**2), (256 * 64, 1), (64 * 256, 1)]
        head = [(256 * 256 * 9, 56**2), (256 * 19, 56**2)]
        auxiliary = 2 * (128 * 64 * 9 + 64 * 19)
        used = [*spatial, *refine, *rest, *fusion, *head]
        # ResNet18 at 224 takes 1,814,073,344, of which 512,000 in the classifier; 448 has four times the pixels.
        trunk_cost = 4 * (1_814_073_344 - 512_000)
        assert multiply_adds(on_meta("bisenet")) == trunk_cost + sum(weights * pixels for weights, pixels in used)
        # Batch-norms: spatial 64, 64, 64, 128; refinement 2 * 128 twice; tail and two 3x3: 128 each; fusion and main
        # head 256 each; auxiliary heads 64 each. Two numbers a channel. The three heads' scores alone have a
        # bias.
        norms = 2 * (3 * 64 + 128 + 4 * 128 + 3 * 128 + 256 + 256 + 2 * 64)
        want = 11_689_512 - 513_000 + sum(weights for weights, _ in used) + auxiliary + norms + 3 * 19
        assert parameters(on_meta("bisenet")) == want == 13_392_441
        # The public variant takes stage 2 of the trunk for the spatial path; it is published with 13.3 M.
        assert want - sum(weights for weights, _ in spatial) - 2 * (3 * 64 + 128) == 13_300_473

    def test_gradients_reach_every_parameter(self) -> None:
        net = build_model("bisenet").train()
        # Four images: of two, batch-norm leaves +1 and -1 of what attention sees, whatever its weights.
        scores = net(torch.randn(4, 3, 64, 64)).maps
        # Squared, since batch-norm takes the mean of any linear loss away.
        sum(s.square().mean() for s in scores).backward()
        idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert idle == []

    def test_every_head_teaches_the_trunk(self) -> None:
        net = build_model("bisenet").train()
        for scores in net(torch.randn(4, 3, 64, 64)).maps:
            loss = scores.square().mean()
            (gradient,) = torch.autograd.grad(loss, net.context.layer4[1].conv2.weight, retain_graph=True)
            assert gradient.abs().sum() > 0

    def test_new_kernels_keep_the_variance(self, bisenet: Network) -> None:
        for conv, fan_in in (
            (bisenet.spatial[1][0], 64 * 9),
            (bisenet.fusion.join[0], 256),
            (bisenet.heads[0][1], 256),
        ):
            assert conv.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.05)

    def test_trunk_is_torchvisions_and_the_tail_sees_its_mean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        other = moved_trunk()
        monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: other.state_dict())
        context = build_model("bisenet", pretrained="imagenet").eval().context
        seen: dict[str, torch.Tensor] = {}
        for name in ("refine16", "refine32", "tail"):
            getattr(context, name).register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
        images = torch.randn(2, 3, 64, 96)
        with torch.inference_mode():
            context(images)
            want = create_feature_extractor(other, {"layer3": "refine16", "layer4": "refine32"})(images)
        assert all(torch.equal(seen[name], features) for name, features in want.items())
        torch.testing.assert_close(seen["tail"], want["refine32"].mean((2, 3), keepdim=True))

    def test_context_adds_up_from_coarse_to_fine(self) -> None:
        context = build_model("bisenet").eval().context
        columns = torch.arange(3.0).view(1, 1, 1, 3)
        context.tail = Constant(lambda x: x[:, :128] * 0 + 10)
        context.refine32 = Constant(lambda x: x[:, :128] * 0 + columns)
        context.refine16 = Constant(lambda x: x[:, :128] * 0 + 100)
        context.smooth32 = Constant(lambda x: x * 2)
        context.smooth16 = Constant(lambda x: x + 1000)
        with torch.inference_mode():
            fine, coarse = context(torch.randn(1, 3, 64, 96))
        # Stride 32: 0 1 2, and 10 of the mean. Doubled in size, then by `smooth32`; 100 on top, doubled in size, 1000.
        assert torch.equal(coarse, torch.tensor([20.0, 20, 22, 22, 24, 24]).expand(1, 128, 4, 6))
        assert torch.equal(fine, torch.tensor([1120.0, 1122, 1124]).repeat_interleave(4).expand(1, 128, 8, 12))

    def test_attention_refinement_by_hand(self) -> None:
        block = AttentionRefinement(8, 4).eval()
        block.narrow = Constant(lambda x: x[:, :4])
        x = torch.randn(2, 8, 3, 5)
        with torch.inference_mode():
            mean = x[:, :4].mean((2, 3)) @ block.weigh[0].weight[..., 0, 0].T
            want = x[:, :4] * torch.sigmoid(mean / (1 + 1e-5) ** 0.5)[..., None, None]
            torch.testing.assert_close(block(x), want)

    def test_fusion_by_hand(self) -> None:
        fusion = FeatureFusion().eval()
        fusion.join = nn.Identity()
        detail, context = torch.randn(2, 2, 128, 3, 5)
        with torch.inference_mode():
            joint = torch.cat([detail, context], dim=1)
            squeezed = (joint.mean((2, 3)) @ fusion.weigh[0].weight[..., 0, 0].T).clamp(min=0)
            weights = torch.sigmoid(squeezed @ fusion.weigh[2].weight[..., 0, 0].T)
            torch.testing.assert_close(fusion(detail, context), joint * (1 + weights[..., None, None]))

    def test_each_head_has_its_own_features(self) -> None:
        net = on_meta("bisenet").to_empty(device="cpu").train()
        net.context = Constant(lambda x: (x[:, :1] + 1, x[:, :1] + 2))
        net.spatial = Constant(lambda x: x[:, :1] + 10)
        net.fusion.forward = lambda detail, context: 100 * detail + context
        net.heads = nn.ModuleList(Constant(lambda x, i=i: x + i * 10_000) for i in range(3))
        scores = net(torch.zeros(1, 3, 32, 32)).maps
        assert [s.unique().item() for s in scores] == [1001, 10_001, 20_002]

    def test_a_bad_pretrained_names_the_choices(self) -> None:
        with pytest.raises(ConfigError, match=r"model\.pretrained is 'coco': choose false or imagenet"):
            build_model("bisenet", pretrained="coco")


@pytest.mark.parametrize(
    ("model", "trunk", "heads"),
    [
        (BISENET, {"context", "spatial"}, {"fusion", "heads"}),
        (SMP, {"model.encoder"}, {"model.decoder", "model.segmentation_head"}),
        ({"name": "resnet18"}, {"stem", "layer2", "layer3", "layer4"}, {"heads"}),
    ],
)
def test_heads_learn_at_their_own_rate(model: dict[str, Any], trunk: set[str], heads: set[str], tmp_path: Path) -> None:
    if model["name"] == "smp":
        pytest.importorskip(PACKAGE)
    config = peer_settings(tmp_path, tmp_path, model)  # its head_lr_mult is 2
    with torch.device("meta"):
        module = build_module(config)
    module.trainer = build_trainer(config, [])
    sgd = module.configure_optimizers()["optimizer"]
    rates = {id(p): group["initial_lr"] for group in sgd.param_groups for p in group["params"]}
    found: dict[float, set[str]] = {}
    for name, parameter in module.net.named_parameters():
        part = next(part for part in trunk | heads if name.startswith(f"{part}."))
        found.setdefault(rates[id(parameter)], set()).add(part)
    assert found == {0.01: trunk, 0.02: heads}


def peer_settings(root: Path, folder: Path, model: dict[str, Any]) -> Config:
    """Return the settings of two steps at 64 pixels on the CPU."""
    config = settings(root, folder, max_steps=2, val_every=2)
    config.model = model
    return config


def run(config: Config) -> tuple[FaceParsing, dict[str, float]]:
    """Train, and return the module and the last row of its log."""
    module, log = build_module(config), RunLog(Path(config.output_dir))
    build_trainer(config, [log]).fit(module, build_data(config))
    return module, read_rows(Path(config.output_dir) / "metrics.csv")[-1]


class TestRun:
    """Two steps of training, and the network that comes back from the checkpoint."""

    @pytest.mark.parametrize(("model", "names"), [(BISENET, ["main", "aux16", "aux32"]), (SMP, ["main"])])
    def test_train_log_and_reload(
        self, model: dict[str, Any], names: list[str], tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if model["name"] == "smp":
            pytest.importorskip(PACKAGE)
        module, row = run(peer_settings(tiny_root, tmp_path, model))
        assert [key for key in row if key.startswith("train/loss_")] == [f"train/loss_{name}" for name in names]
        assert row["train/loss"] == pytest.approx(sum(row[f"train/loss_{name}"] for name in names), rel=1e-5)
        assert row["val/loss"] == pytest.approx(sum(row[f"val/loss_{name}"] for name in names), rel=1e-5)
        net, about = load_network(tmp_path / "checkpoints" / "last.ckpt")
        assert about["model"] == model
        images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
        with torch.inference_mode():
            (got,), (want,) = net.double()(images).predict, module.eval().double()(images).predict
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
        if model["name"] == "smp":
            monkeypatch.setitem(sys.modules, PACKAGE, None)
            with pytest.raises(CheckpointError, match=r"last\.ckpt.*pip install -e '\.\[smp\]'"):
                load_network(tmp_path / "checkpoints" / "last.ckpt")


class TestSmp:
    @pytest.mark.parametrize("arch", ["Unet", "fpn", "DeepLabV3Plus"])
    def test_it_gives_what_the_package_gives(self, arch: str) -> None:
        smp = pytest.importorskip(PACKAGE)
        net = build_model("smp", arch=arch, encoder="mobilenet_v2").eval()
        torch.manual_seed(1)
        other = smp.create_model(arch, "mobilenet_v2", None, classes=19).eval()
        net.model.load_state_dict(other.state_dict())
        images = torch.randn(1, 3, 64, 96)
        with torch.inference_mode():
            (scores,), _ = net(images)
            assert torch.equal(scores, other(images))
        assert scores.shape == (1, 19, 64, 96)

    def test_the_default_is_a_unet_on_resnet18(self) -> None:
        # Trunk; per decoder block two 3x3 convolutions and batch-norms, on what is upsampled and the skip; the head.
        widths, skips, up = [256, 128, 64, 32, 16], [256, 128, 64, 64, 0], [512, 256, 128, 64, 32]
        decoder = sum(9 * (a + s) * w + 9 * w * w + 4 * w for a, s, w in zip(up, skips, widths, strict=True))
        assert parameters(on_meta("smp")) == 11_689_512 - 513_000 + decoder + 9 * 16 * 19 + 19

    def test_gradients_reach_every_parameter(self) -> None:
        pytest.importorskip(PACKAGE)
        net = build_model("smp").train()
        net(torch.randn(2, 3, 64, 64)).predict[0].square().mean().backward()
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            ({"arch": "Unett"}, r"model\.arch is 'Unett': choose one of Unet, .*FPN, .*DeepLabV3Plus"),
            ({"arch": None}, r"model\.arch is 'None': choose one of Unet"),
            ({"encoder": "resnet19"}, r"model\.encoder is 'resnet19': .*, such as .*resnet18"),
            ({"encoder": 18}, r"model\.encoder is '18': .*, such as resnet18"),
            ({"encoder": "tu-nothing"}, r"'tu-nothing'.* cannot be built \(Unknown model.*choose another encoder"),
            ({"arch": "DPT"}, r"model\.arch 'DPT' with .*'resnet18'.*must start with 'tu-'.*choose another encoder"),
            ({"pretrained": "coco"}, r"model\.pretrained is 'coco': choose false or imagenet"),
            ({"depth": 3}, r"model\.depth is not a setting of smp: it has arch, encoder, pretrained"),
        ],
    )
    def test_a_bad_setting_names_the_remedy(self, model: dict[str, Any], message: str) -> None:
        pytest.importorskip(PACKAGE)
        with pytest.raises(ConfigError, match=message) as caught, torch.device("meta"):
            build_model("smp", **model)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("error", [OSError("no route\nto host"), Exception()])
    def test_weights_that_cannot_be_fetched_name_the_other_choice(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(pytest.importorskip(PACKAGE).encoders, "hf_hub_download", fail)
        with pytest.raises(ConfigError, match=r"pretrained: imagenet.*set model\.pretrained=false") as caught:
            build_model("smp", pretrained="imagenet")
        assert "\n" not in str(caught.value)

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setitem(sys.modules, PACKAGE, None)
        with pytest.raises(ConfigError, match=r"'smp', but segmentation_.*: pip install -e '\.\[smp\]'"):
            build_model("smp")
        monkeypatch.setattr("facekp.models.__main__.model_names", lambda: ["smp", "bisenet"])
        main()
        _, left_out, bisenet = capsys.readouterr().out.splitlines()
        assert left_out.split(maxsplit=1)[1].startswith("left out: model.name is 'smp'")
        assert bisenet.split() == ["bisenet", "13.39", "M", "11.33", "G"]

    def test_the_table_has_it(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip(PACKAGE)
        monkeypatch.setattr("facekp.models.__main__.model_names", lambda: ["smp"])
        main()
        assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["smp", "14.33", "M"]

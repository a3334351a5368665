"""What a longer recipe adds to a run: weights to begin with, the loss of the heads' sum, averaged weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.losses import reference
from pytorch_lightning.callbacks import Callback
from runs import PowerCutError, changed, logged, settings

from facekp.config import OptimConfig
from facekp.data.dataset import to_batch
from facekp.errors import ConfigError
from facekp.models import build_model
from facekp.training import run as training
from facekp.training.module import FaceParsing
from facekp.training.run import build_data
from facekp.weights.checkpoint import describe, read_checkpoint, write_weights
from facekp.weights.load import begin_with, load_network

OPTIM = {key: getattr(OptimConfig(), key) for key in OptimConfig.__dataclass_fields__}
TRAIN = Callable[..., Path]


class TestInit:
    def test_begins_with_those_weights(self, tiny_root: Path, straight: Path, train: TRAIN, tmp_path: Path) -> None:
        # A rate so small that nothing is learnt in one step: batch-norm's statistics alone move.
        ckpt = straight / "checkpoints" / "last.ckpt"
        config = changed(
            settings(tiny_root, tmp_path / "begun", max_steps=1), {"init": str(ckpt), "optim.warmup_start": 1e-30}
        )
        begun = read_checkpoint(train(config) / "checkpoints" / "last.ckpt")["state_dict"]
        wanted = read_checkpoint(ckpt)["state_dict"]
        learnt = [name for name, _ in FaceParsing(config.model, {"name": "ohem"}, OPTIM, 1, 64).named_parameters()]
        assert all(torch.equal(begun[name], wanted[name]) for name in learnt)

    @pytest.mark.slow
    def test_a_resumed_run_goes_on_with_its_own(
        self, tiny_root: Path, straight: Path, train: TRAIN, tmp_path: Path
    ) -> None:
        begin = tmp_path / "begin.ckpt"
        shutil.copyfile(straight / "checkpoints" / "last.ckpt", begin)
        change = {"init": str(begin)}
        whole = train(changed(settings(tiny_root, tmp_path / "whole"), change))
        cut = changed(settings(tiny_root, tmp_path / "cut"), change)
        with pytest.raises(PowerCutError):
            train(cut, cut_before=6)
        begin.unlink()
        train(cut)
        got, want = (read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("cut", "whole"))
        assert all(torch.equal(got["state_dict"][name], tensor) for name, tensor in want["state_dict"].items())
        assert logged(tmp_path / "cut") == logged(whole)

    def test_takes_the_trunk_of_another_network(self, tmp_path: Path) -> None:
        path = tmp_path / "net.safetensors"
        other = build_model("resnet18")
        write_weights(other, _about(), path)
        net = build_model("fpn")
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        assert begin_with(net, path) == "the trunk"
        stored = load_network(path)[0].state_dict()  # rounded to float16
        shared = [name for name in before if name.startswith("trunk.")]
        assert len(shared) == 120  # torchvision's 122 less its classifier's two
        assert all(torch.equal(net.state_dict()[name], stored[name]) for name in shared)
        assert all(torch.equal(net.state_dict()[name], before[name]) for name in before if name not in shared)

    def test_leaves_heads_that_would_fit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "net.safetensors"
        with monkeypatch.context() as patch:
            patch.setattr("facekp.models.fpn.WIDTH", 64)
            other = build_model("fpn")
        write_weights(other, describe({"name": "fpn"}, 64), path)
        net = build_model("fpn")
        before = net.heads[0][1].weight.detach().clone()
        assert other.heads[0][1].weight.shape == before.shape
        assert begin_with(net, path) == "the trunk"
        assert torch.equal(net.heads[0][1].weight, before)

    def test_a_larger_trunk_is_refused(self, tmp_path: Path) -> None:
        pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
        # Its first blocks would fit.
        about = {"name": "smp", "encoder": "resnet34"}
        write_weights(build_model(**about), describe(about, 64), tmp_path / "net.safetensors")
        with pytest.raises(ConfigError, match=r"take one with the same trunk"):
            begin_with(build_model("smp"), tmp_path / "net.safetensors")

    def test_a_network_with_another_trunk_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "net.safetensors"
        write_weights(build_model("resnet18"), _about(), path)
        with pytest.raises(ConfigError, match=r"init is '.*net.safetensors', which holds a network of .*resnet18"):
            begin_with(build_model("bisenet"), path)


def _about() -> dict[str, Any]:
    return describe({"name": "resnet18"}, 64)


class Weights(Callback):
    """Keep the weights after every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any) -> None:
        self.seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})


class TestAverage:
    DECAY = 0.75

    def test_is_the_moving_average_of_the_weights(
        self, tiny_root: Path, script: Any, train: TRAIN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        weights = Weights()
        build = training.build_trainer

        def watched(*args: Any) -> pl.Trainer:
            trainer = build(*args)
            trainer.callbacks.insert(0, weights)
            return trainer

        monkeypatch.setattr(training, "build_trainer", watched)
        config = changed(settings(tiny_root, tmp_path / "ema", max_steps=3, val_every=3), {"optim.ema": self.DECAY})
        folder = tmp_path / "ema"
        folder.mkdir()
        script.train(config)
        kept = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
        first, second, third = weights.seen
        for name in ("net.stem.0.conv.weight", "net.heads.0.4.bias", "net.layer4.1.bn2.running_mean"):
            wanted = first[name]
            for now in (second[name], third[name]):
                wanted = self.DECAY * wanted + (1 - self.DECAY) * now
            assert not torch.allclose(wanted, third[name], rtol=1e-3)
            torch.testing.assert_close(kept[name], wanted)
        # It is what was validated and tested, too.
        rows = logged(folder)
        net, _ = load_network(folder / "checkpoints" / "best.ckpt")
        data = build_data(config)
        for split in ("val", "test"):
            total, images = 0.0, 0
            for batch in map(to_batch, data.evaluation_loader(split)):
                with torch.inference_mode():
                    loss = sum(reference(s, batch["label"]) for s in net(batch["image"]).maps).item()
                total, images = total + len(batch["label"]) * loss, images + len(batch["label"])
            assert rows[-1][f"{split}/loss"] == pytest.approx(total / images, rel=1e-4)
        assert json.loads((folder / "metrics.json").read_text())["settings"]["optim"]["ema"] == self.DECAY

    @pytest.mark.slow
    def test_goes_on_after_a_power_cut(self, tiny_root: Path, train: TRAIN, tmp_path: Path) -> None:
        whole, cut = (changed(settings(tiny_root, tmp_path / n), {"optim.ema": self.DECAY}) for n in ("whole", "cut"))
        train(whole)
        with pytest.raises(PowerCutError):
            train(cut, cut_before=6)
        train(cut)
        got, want = (read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("cut", "whole"))
        for part in ("state_dict", "current_model_state"):
            assert all(torch.equal(got[part][name], tensor) for name, tensor in want[part].items()), part
        assert logged(tmp_path / "cut") == logged(tmp_path / "whole")

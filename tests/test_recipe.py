"""What a longer recipe adds to a run: weights to begin with, and averaged weights."""

import json
from pathlib import Path

import pytest
import torch
from helpers.losses import reference
from pytorch_lightning.callbacks import LambdaCallback
from runs import logged, settings, train

from facekp.data.dataset import to_batch
from facekp.errors import ConfigError
from facekp.models import build_model
from facekp.training.run import build_data
from facekp.weights.checkpoint import describe, read_checkpoint, write_weights
from facekp.weights.load import begin_with, load_network


def stored(tmp_path, **model):
    """Write the weights of a network with random ones."""
    write_weights(build_model(**model), describe(model, 64), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


class TestInit:
    def test_begins_with_those_weights(self, straight, tiny_root, tmp_path):
        # A rate so small that nothing is learnt in one step: batch-norm's statistics alone move.
        ckpt = straight / "checkpoints" / "last.ckpt"
        change = {"init": str(ckpt), "optim.warmup_start": 1e-30}
        run = train(settings(tiny_root, tmp_path, change, max_steps=1))
        begun, wanted = (read_checkpoint(path)["state_dict"] for path in (run / "checkpoints" / "last.ckpt", ckpt))
        learnt = [f"net.{name}" for name, _ in build_model("toy").named_parameters()]
        assert all(torch.equal(begun[name], wanted[name]) for name in learnt)

    def test_takes_the_trunk_of_another_network(self, tmp_path):
        path, net = stored(tmp_path, name="resnet18"), build_model("fpn")
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        assert begin_with(net, path) == ("the trunk", None)
        other = load_network(path)[0].state_dict()  # rounded to float16
        shared = [name for name in before if name.startswith("trunk.")]
        assert len(shared) == 120  # torchvision's 122 less its classifier's two
        assert all(torch.equal(net.state_dict()[name], other[name]) for name in shared)
        assert all(torch.equal(net.state_dict()[name], before[name]) for name in before if name not in shared)

    def test_leaves_heads_that_would_fit(self, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr("facekp.models.fpn.WIDTH", 64)
            path = stored(tmp_path, name="fpn")
            shape = build_model("fpn").heads[0][1].weight.shape
        net = build_model("fpn")
        before = net.heads[0][1].weight.detach().clone()
        assert shape == before.shape
        assert begin_with(net, path) == ("the trunk", None)
        assert torch.equal(net.heads[0][1].weight, before)

    @pytest.mark.parametrize(
        ("model", "other", "message"),
        [
            ({"name": "smp", "encoder": "resnet34"}, "smp", "`model=smp model.encoder=resnet34`"),  # first blocks fit
            ({"name": "resnet18"}, "bisenet", r"init is '.*s', which holds another trunk, .*`model=resnet18`"),
        ],
    )
    def test_another_trunk_is_refused(self, model, other, message, tmp_path):
        if other == "smp":
            pytest.importorskip("segmentation_models_pytorch", reason="the extra smp is not installed")
        with pytest.raises(ConfigError, match=message):
            begin_with(build_model(other), stored(tmp_path, **model))


class TestRecipe:
    """Three steps of plain SGD without warm-up, clipped and averaged, validated every two."""

    DECAY = 0.75

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, tiny_root, tmp_path_factory):
        seen = []  # the weights at the start and after each step

        def keep(trainer, module, *args):
            seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})

        plain = {"lr": 1.0, "warmup_steps": 0, "momentum": 0.0, "weight_decay": 0.0, "head_lr_mult": 1.0}
        change = {f"optim.{key}": value for key, value in (plain | {"ema": cls.DECAY}).items()}
        folder = tmp_path_factory.mktemp("recipe")
        config = settings(tiny_root, folder, change, max_steps=3, val_every=2, gradient_clip=1.0)
        train(config, LambdaCallback(on_train_start=keep, on_train_batch_end=keep))
        return config, seen

    def test_gradients_are_clipped(self, run):
        # In the first step, the weights move together by the learning rate times the norm.
        start, first = run[1][:2]
        learnt = [f"net.{name}" for name, _ in build_model("toy").named_parameters()]
        moved = sum((first[name].double() - start[name]).square().sum() for name in learnt) ** 0.5
        assert moved.item() == pytest.approx(1.0 * 1.0, rel=1e-3)

    def test_a_last_validation_belongs_to_the_last_step(self, run):
        # Validated at 2 by plan and at 3 because it is the end.
        folder = Path(run[0].output_dir)
        rows = logged(folder)
        assert [row["step"] for row in rows] == [1, 2, 3]
        assert [row["step"] for row in rows if "val/loss" in row] == [2, 3]
        summary = json.loads((folder / "metrics.json").read_text())
        assert summary["steps"] == summary["val"]["last"]["step"] == 3
        assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == 3

    def test_the_average_of_the_weights_is_validated_kept_and_tested(self, run):
        config, (_, first, second, third) = run
        folder = Path(config.output_dir)
        kept = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
        for name in ("net.trunk.0.0.weight", "net.heads.0.4.bias", "net.trunk.2.1.running_mean"):
            wanted = first[name]
            for now in (second[name], third[name]):
                wanted = self.DECAY * wanted + (1 - self.DECAY) * now
            assert not torch.allclose(wanted, third[name], rtol=1e-3)
            torch.testing.assert_close(kept[name], wanted)
        data, rows = build_data(config), logged(folder)
        best = max((row for row in rows if "val/miou" in row), key=lambda row: row["val/miou"])
        net, _ = load_network(folder / "checkpoints" / "best.ckpt")
        for split, row in (("val", best), ("test", rows[-1])):
            total, images = 0.0, 0
            for batch in map(to_batch, data.evaluation_loader(split)):
                with torch.inference_mode():
                    loss = sum(reference(s, batch["label"]) for s in net(batch["image"]).maps).item()
                total, images = total + len(batch["label"]) * loss, images + len(batch["label"])
            assert row[f"{split}/loss"] == pytest.approx(total / images, rel=1e-4)

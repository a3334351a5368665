"""Mixed precision: twenty steps in it lose about what they lose in float32, and the loss itself is a float32."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.losses import reference
from torch import Tensor

from facekp.config import CallbacksConfig, Config, DataConfig, OptimConfig, TrainerConfig
from facekp.training.history import RunLog
from facekp.training.run import build_data, build_module, build_trainer

STEPS = 20
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Run:
    """Twenty steps of four images at 64 pixels.

    Attributes:
        losses: the loss of each step.
        scores: dtype of the network's output at each.
        errors: relative difference of each head's loss to its definition in float64, of the very scores.
        weights: dtypes of what was trained.
    """

    def __init__(self, root: Path, folder: Path, accelerator: str, precision: str) -> None:
        config = Config(
            data=DataConfig(root=str(root), size=64, crop=64, batch_size=4, eval_batch_size=3, workers=0),
            model={"name": "fpn"},
            optim=OptimConfig(warmup_steps=0, lr=5e-3, head_lr_mult=1),
            trainer=TrainerConfig(accelerator=accelerator, devices=1, max_steps=STEPS, val_every=STEPS, log_every=1),
            callbacks=CallbacksConfig(progress=False),
            output_dir=str(folder),
        )
        config = replace(config, trainer=replace(config.trainer, precision=precision))
        pl.seed_everything(0, verbose=False)
        module = build_module(config)
        self.scores: set[torch.dtype] = set()
        self.errors: list[float] = []
        module.criterion.criterion.register_forward_hook(self._check)
        log = RunLog(folder)
        build_trainer(config, [log]).fit(module, build_data(config))
        self.losses = torch.tensor([log.rows[step]["train/loss"] for step in range(1, STEPS + 1)])
        self.weights = {p.dtype for p in module.parameters()}

    def _check(self, criterion: torch.nn.Module, arguments: tuple[Tensor, Tensor], loss: Tensor) -> None:
        scores, labels = (tensor.detach().cpu() for tensor in arguments)
        self.scores.add(scores.dtype)
        assert loss.dtype == torch.float32
        want = reference(scores.double(), labels).item()
        self.errors.append(abs(loss.item() - want) / want)


@pytest.fixture(scope="module")
def run(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Run]:
    """Return a function that trains, once for each accelerator and precision."""
    known: dict[tuple[str, str], Run] = {}

    def once(accelerator: str, precision: str) -> Run:
        if (accelerator, precision) not in known:
            known[accelerator, precision] = Run(tiny_root, tmp_path_factory.mktemp("run"), accelerator, precision)
        return known[accelerator, precision]

    return once


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accelerator", "precision", "dtype"),
    [
        ("cpu", "bf16-mixed", torch.bfloat16),
        pytest.param("gpu", "bf16-mixed", torch.bfloat16, marks=GPU),
        pytest.param("gpu", "16-mixed", torch.float16, marks=GPU),
    ],
)
def test_twenty_steps(run: Callable[[str, str], Run], accelerator: str, precision: str, dtype: torch.dtype) -> None:
    full, mixed = run(accelerator, "32-true"), run(accelerator, precision)
    assert (full.scores, mixed.scores) == ({torch.float32}, {dtype})
    assert full.weights == mixed.weights == {torch.float32}
    # Three heads a step; sums of rounded scores would be off by 1e-3.
    assert len(mixed.errors) >= 3 * STEPS
    assert max(*full.errors, *mixed.errors) < 1e-6
    # bf16 rounds to 1/256. Seen: 0.001 at the first step, before any update; later at most 0.054, 0.004 in the mean.
    assert mixed.losses[0].item() == pytest.approx(full.losses[0].item(), rel=1 / 256)
    assert (mixed.losses / full.losses - 1).abs().max() < 0.1
    assert mixed.losses.mean().item() == pytest.approx(full.losses.mean().item(), rel=0.01)
    for losses in (full.losses, mixed.losses):
        assert losses[-5:].mean() < 0.95 * losses[:5].mean()  # it does train

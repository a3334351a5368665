"""Whole runs of train.py, which several test files look at."""

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
from conftest import REPOSITORY
from helpers.networks import Toy
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from pytorch_lightning.callbacks import Callback, LambdaCallback

from facekp.config import CallbacksConfig, Config, DataConfig, LoggerConfig, OptimConfig, TrainerConfig
from facekp.models.registry import NETWORKS
from facekp.training.compose import read_config, register_schema
from facekp.training.rows import read_rows
from facekp.training.run import train as train_here

register_schema()
SMALL = (
    "data.size=64", "data.crop=64", "data.batch_size=4", "data.workers=0", "callbacks.progress=false",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_steps=4", "trainer.val_every=2",
    "trainer.log_every=1", "optim.warmup_steps=1",
)  # fmt: skip
"""Arguments of a run of a few steps."""
QUIET = ("logger=csv", "hydra/job_logging=none", "hydra/hydra_logging=none")
STEPS = 8
VAL_EVERY = 4
AT_EXIT: list[Callable[[], None]] = []
"""What sweeps that failed would do at the end of their process."""
WALL_CLOCK = {"seconds", "train/images_per_second", "train/peak_memory"}  # not the same in two equal runs


def settings(root: Path, folder: Path, change: dict[str, Any] | None = None, **trainer: Any) -> Config:
    """Return the settings of a run of a few steps at 64 pixels on the CPU, with `{"optim.lr": ...}` changed."""
    NETWORKS.register("toy")(Toy)
    steps = {"max_steps": STEPS, "val_every": VAL_EVERY, "log_every": 1, "precision": "32-true", **trainer}
    config = Config(
        data=DataConfig(root=str(root), size=64, crop=64, batch_size=4, eval_batch_size=2, workers=0),
        model={"name": "toy", "pretrained": False},
        optim=OptimConfig(warmup_steps=2, head_lr_mult=2.0),
        trainer=TrainerConfig(**{"accelerator": "cpu", "devices": 1, **steps}),
        logger=LoggerConfig(name="csv"),
        callbacks=CallbacksConfig(progress=False),
        output_dir=str(folder),
    )
    plain = OmegaConf.structured(config)
    for name, value in (change or {}).items():
        OmegaConf.update(plain, name, value)
    return OmegaConf.to_object(plain)


def composed(*overrides: str) -> Config:
    """Return the settings that `train.py OVERRIDE...` composes and checks, of a run in /runs/one."""
    try:
        with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
            found = compose("config", [*overrides, "hydra.runtime.output_dir=/runs/one"], return_hydra_config=True)
            HydraConfig.instance().set_config(found)
            with open_dict(found):
                del found["hydra"]
            return read_config(found)
    finally:
        HydraConfig.instance().cfg = None


def logged(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's metrics.csv without what a clock measured; nan as None, so that rows compare."""
    return [
        {k: None if math.isnan(v) else v for k, v in row.items() if k not in WALL_CLOCK}
        for row in read_rows(folder / "metrics.csv")
    ]


class PowerCutError(Exception):
    """What ends a run in these tests."""


def before_step(step: int, end: BaseException | type[BaseException] | Callable[[], object] = PowerCutError) -> Callback:
    """Return a callback that raises or calls `end` before step `step`, 0-based."""

    def check(trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == step:
            if isinstance(end, BaseException) or (isinstance(end, type) and issubclass(end, BaseException)):
                raise end
            end()

    return LambdaCallback(on_train_batch_start=check)


def train(config: Config, *callbacks: Callback) -> Path:
    """Run `facekp.training.run.train` in this process, and return the run's folder."""
    Path(config.output_dir).mkdir(parents=True, exist_ok=True)
    train_here(config, *callbacks)
    return Path(config.output_dir)


def run_train(*arguments: str) -> None:
    """Run train.py for a few steps, in this process."""
    atexit = SimpleNamespace(register=AT_EXIT.append, unregister=AT_EXIT.remove)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facekp.compare.callback.atexit", atexit)
        patch.setattr(sys, "argv", ["train.py", *SMALL, *QUIET, *arguments])
        try:
            runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
        finally:
            HydraConfig.instance().cfg = None

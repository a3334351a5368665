"""Whole runs of train.py, which several test files look at."""

import importlib.util
import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback

import facekp.training.run
from facekp.config import CallbacksConfig, Config, DataConfig, LoggerConfig, OptimConfig, TrainerConfig
from facekp.training.history import read_rows

REPOSITORY = Path(__file__).parents[1]
SMALL = (
    "data.size=64", "data.crop=64", "data.batch_size=4", "data.workers=0", "callbacks.progress=false",
    "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_steps=4", "trainer.val_every=2",
    "trainer.log_every=1",
)  # fmt: skip
"""Arguments of a run of a few steps."""
STEPS = 8
VAL_EVERY = 4
WALL_CLOCK = {"seconds", "train/images_per_second", "train/peak_memory"}  # not the same in two equal runs


def settings(root: Path, folder: Path, **trainer: Any) -> Config:
    """Return the settings of a run of a few steps at 64 pixels on the CPU."""
    steps = {"max_steps": STEPS, "val_every": VAL_EVERY, "log_every": 1, **trainer}
    return Config(
        data=DataConfig(root=str(root), size=64, crop=64, batch_size=4, eval_batch_size=2, workers=0),
        model={"name": "resnet18", "pretrained": False},
        optim=OptimConfig(warmup_steps=2, head_lr_mult=2.0),
        trainer=TrainerConfig(accelerator="cpu", devices=1, precision="32-true", **steps),
        logger=LoggerConfig(name="csv"),
        callbacks=CallbacksConfig(progress=False),
        output_dir=str(folder),
    )


def changed(config: Config, change: dict[str, Any]) -> Config:
    """Return `config` with `{"optim.lr": ...}` changed."""
    plain = OmegaConf.structured(config)
    for name, value in change.items():
        OmegaConf.update(plain, name, value)
    return OmegaConf.to_object(plain)


def logged(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's metrics.csv without what a clock measured; nan as None, so that rows compare."""
    return [
        {k: None if math.isnan(v) else v for k, v in row.items() if k not in WALL_CLOCK}
        for row in read_rows(folder / "metrics.csv")
    ]


class PowerCutError(Exception):
    """What ends a run in these tests."""


class PowerCut(Callback):
    """End the run before step `step` (0-based)."""

    def __init__(self, step: int, error: BaseException | type[BaseException]) -> None:
        self.step, self.error = step, error

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """Import train.py, which is no module of the package."""
    spec = importlib.util.spec_from_file_location("train_script", REPOSITORY / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def train(script: ModuleType) -> Callable[..., Path]:
    """Return a function that runs train.py's `train` in this process, up to a power cut, and returns its folder."""

    def run(
        config: Config, cut_before: int | None = None, error: BaseException | type[BaseException] = PowerCutError
    ) -> Path:
        Path(config.output_dir).mkdir(parents=True, exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            if cut_before is not None:
                build = facekp.training.run.build_trainer

                def with_cut(*args: Any) -> pl.Trainer:
                    trainer = build(*args)
                    trainer.callbacks.append(PowerCut(cut_before, error))
                    return trainer

                patch.setattr(facekp.training.run, "build_trainer", with_cut)
            script.train(config)
        return Path(config.output_dir)

    return run


@pytest.fixture(scope="session")
def straight(tiny_root: Path, train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing interrupted."""
    return train(settings(tiny_root, tmp_path_factory.mktemp("runs") / "straight"))


@pytest.fixture(scope="session")
def sweep(tiny_root: Path) -> Callable[..., None]:
    """Return a function that runs `train.py -m` in a folder, in this process: starting Python takes seconds."""

    def run(*arguments: str, cwd: Path, logger: str = "csv") -> None:
        quiet = ("hydra/job_logging=none", "hydra/hydra_logging=none", f"logger={logger}", f"data.root={tiny_root}")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["train.py", "-m", *SMALL, *quiet, *arguments])
            try:
                runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
            finally:
                HydraConfig.instance().cfg = None

    return run

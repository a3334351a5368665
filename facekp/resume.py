"""Continuing a run: from which checkpoint, and whether it fits the settings."""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from facekp.checkpoint import CHECKPOINTS, KEY, LAST, read_checkpoint
from facekp.config import Config, DataConfig, expand
from facekp.data.datamodule import FaceDataModule, stream_settings
from facekp.errors import CheckpointError, ConfigError


class Resume(NamedTuple):
    """Where a run continues: an absolute path, and the optimiser steps done."""

    checkpoint: Path
    step: int

    @property
    def folder(self) -> Path:
        """The run folder that is continued."""
        return self.checkpoint.parents[1]


def find_resume(config: Config) -> Resume | None:
    """Find the checkpoint that `resume` names: a path, or "last".

    "last" is this run folder's, or else the newest run's beside it. In a sweep those are other jobs, so that a job
    without a checkpoint of its own starts from the beginning there.

    Raises:
        ConfigError: there is none, or it was trained with other settings.
        CheckpointError: the file is no checkpoint.
    """
    if config.resume is None:
        return None
    path = _last(Path(config.output_dir)) if config.resume == "last" else expand(config.resume)
    if path is None:
        return None
    content = read_checkpoint(path)
    if "loops" not in content:
        raise CheckpointError(f"checkpoint '{path}': holds weights only, so training cannot continue from it")
    then = {
        "model": content[KEY]["model"],
        "loss": content["hyper_parameters"]["loss"],
        "optim": content["hyper_parameters"]["optim"],
        "trainer.max_steps": content["hyper_parameters"]["total_steps"],
        # Defaults first: an older checkpoint does not name what came later.
        **stream_settings(DataConfig(), config.seed),
        **content[FaceDataModule.__name__],
    }
    now = {
        "model": config.model,
        "loss": asdict(config.loss),
        "optim": asdict(config.optim),
        "trainer.max_steps": config.trainer.max_steps,
        **stream_settings(config.data, config.seed),
    }
    for setting in now:
        if now[setting] != then[setting]:
            raise ConfigError(
                f"{setting} is {now[setting]}, but '{path}' was trained with {then[setting]}: resume with the same"
            )
    return Resume(path.resolve(), int(content["global_step"]))


def _last(run: Path) -> Path | None:
    own = run / CHECKPOINTS / f"{LAST}.ckpt"
    if own.is_file():
        return own
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return None
    found = list(run.parent.glob(f"*/{CHECKPOINTS}/{LAST}.ckpt"))
    if not found:
        raise ConfigError(f"resume is 'last', but no run in {run.parent} has a checkpoint: give its path, or leave it")
    return max(found, key=lambda path: path.stat().st_mtime)

"""The checkpoint from which a run continues."""

from pathlib import Path
from typing import NamedTuple

from facekp.config import Config
from facekp.data.exclusions import excluded_digest
from facekp.errors import CheckpointError, ConfigError
from facekp.files import expand
from facekp.settings import Affects, settings_that
from facekp.training.folder import ANY_TIME, record_settings, require_same, sweep_job
from facekp.weights.paths import CHECKPOINTS, LAST, require_file

SETTINGS = "settings"
"""Key of a checkpoint's record of its training settings."""


class Resume(NamedTuple):
    """The checkpoint to continue from: an absolute path, and the optimiser steps done."""

    checkpoint: Path
    step: int

    @property
    def folder(self) -> Path:
        """The run folder that is continued."""
        return self.checkpoint.parents[1]


def resume_path(config: Config) -> Path | None:
    """Return the checkpoint to continue from: the one that `resume` names, else the last one in this run's folder.

    `resume` is a path, or "last" for the last one in this folder, or else in the newest run folder beside it. In a
    sweep, those beside it are other jobs, so a job without a checkpoint of its own starts from scratch.

    Raises:
        ConfigError: no run beside this one has a checkpoint.
        CheckpointError: the named file is missing.
    """
    own = Path(config.output_dir) / CHECKPOINTS / f"{LAST}.ckpt"
    if config.resume not in (None, "last"):
        path = expand(str(config.resume))
        require_file(path)
        return path
    if own.is_file():
        return own
    if config.resume is None or sweep_job() is not None:
        return None
    runs = own.parents[2]
    if not (beside := list(runs.glob(f"*/{CHECKPOINTS}/{LAST}.ckpt"))):
        raise ConfigError(f"resume is 'last', but no run in {runs} has a checkpoint: give its path, or omit resume")
    return max(beside, key=lambda file: file.stat().st_mtime)


def find_resume(config: Config) -> Resume | None:
    """Read the checkpoint of `resume_path`, which is checked to continue this run.

    Raises:
        ConfigError: there is none, or it was trained with other settings.
        CheckpointError: the file is no checkpoint.
    """
    from facekp.weights.checkpoint import read_checkpoint  # imports torch; `resume_path` is asked before

    if (path := resume_path(config)) is None:
        return None
    content = read_checkpoint(path)
    if "loops" not in content:
        raise CheckpointError(f"checkpoint '{path}': holds weights only, so training cannot continue from it")
    if SETTINGS not in content:
        raise CheckpointError(f"checkpoint '{path}': has no record of its settings; use the version that wrote it")
    own = Path(config.output_dir) / CHECKPOINTS / f"{LAST}.ckpt"
    elsewhere = path.resolve() != own.resolve()
    free = ANY_TIME | settings_that(Config, Affects.SCORES) if elsewhere else ANY_TIME
    require_same(record_settings(config, excluded_digest(config.data.exclude)), content[SETTINGS], path, free=free)
    return Resume(path.resolve(), int(content["global_step"]))

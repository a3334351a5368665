"""Continuing a run: from which checkpoint, and whether it fits the settings.

A run folder is one run. Starting again in it goes on with that run, or returns its score where it is finished; other
settings are refused there, so that two runs never mix. That is what lets a sweep be started again.
"""

from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from facekp.config import Config, as_plain, complete, fold
from facekp.errors import CheckpointError, ConfigError
from facekp.files import expand
from facekp.weights.checkpoint import read_checkpoint
from facekp.weights.paths import CHECKPOINTS, LAST

SETTINGS = "settings"
"""Key of a checkpoint's record of the settings that it was trained with."""
ANY_TIME = {
    "output_dir", "resume", "data.cache", "data.decoded", "data.exclude", "data.workers", "callbacks.progress",
    "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.num_nodes", "trainer.log_every",
    "trainer.compile", "trainer.deterministic", "logger.name", "logger.project", "logger.entity", "logger.group",
    "logger.run_name", "logger.offline", "logger.images",
}  # fmt: skip
"""Settings that a run may change when it goes on: where and how it runs, not what it learns.

Of `data.exclude` not the file counts but whom it leaves out, `data.left_out`.
"""
ELSEWHERE = {
    "data.root", "data.eval_batch_size", "trainer.precision", "trainer.val_every", "trainer.limit_val_batches",
    "callbacks.patience",
}  # fmt: skip
"""What may change too where a run goes on in another folder, on another machine."""


class OtherSettingsError(ConfigError):
    """A run that would go on with other settings than it was trained with.

    Attributes:
        source: the file that holds the run's settings.
        settings: those settings, nested.
    """

    # No arguments of a constructor: a job in another process sends its error pickled, which those would not survive.
    source: Path
    settings: dict[str, Any]


class Resume(NamedTuple):
    """Where a run continues: an absolute path, and the optimiser steps done."""

    checkpoint: Path
    step: int

    @property
    def folder(self) -> Path:
        """The run folder that is continued."""
        return self.checkpoint.parents[1]


def find_resume(config: Config) -> Resume | None:
    """Find the checkpoint to go on from: the one that `resume` names, else the last one of this run's folder.

    `resume` is a path or "last": this folder's, or else the newest run's beside it. In a sweep those beside are other
    jobs, so that a job without a checkpoint of its own starts from the beginning there.

    Raises:
        ConfigError: there is none, or it was trained with other settings.
        CheckpointError: the file is no checkpoint.
    """
    own = Path(config.output_dir) / CHECKPOINTS / f"{LAST}.ckpt"
    if config.resume in (None, "last"):
        path = own if own.is_file() else None if config.resume is None else _newest_beside(own.parents[1])
    else:
        path = expand(str(config.resume))
    if path is None:
        return None
    content = read_checkpoint(path)
    if "loops" not in content:
        raise CheckpointError(f"checkpoint '{path}': holds weights only, so training cannot continue from it")
    if SETTINGS not in content:
        raise CheckpointError(f"checkpoint '{path}': has no record of its settings, so only that version can go on")
    free = ANY_TIME if path.resolve() == own.resolve() else ANY_TIME | ELSEWHERE
    require_same(config, content[SETTINGS], path, free=free)
    return Resume(path.resolve(), int(content["global_step"]))


def require_same(config: Config, then: dict[str, Any], source: Path, *, free: set[str] = ANY_TIME) -> None:
    """Raise OtherSettingsError for the first setting in which `config` differs from what a run was trained with.

    Args:
        config: what is asked now.
        then: the run's settings, nested, as `as_plain` gives them.
        source: where they were read, for the message.
        free: settings that may differ.
    """
    now, before = fold(as_plain(config)), complete(then)
    for name in now:
        # A network that is not the same has settings of its own; its name differs.
        if name not in free and name in before and now[name] != before[name]:
            remedy = "take the same, or another run folder (hydra.run.dir=; hydra.sweep.dir= of a sweep)"
            error = OtherSettingsError(
                f"{name} is {now[name]!r}, but '{source}' was trained with {before[name]!r}: {remedy}"
            )
            error.source, error.settings = source, then
            raise error


def sweep_job() -> Any | None:
    """Return Hydra's own settings where this is a job of a sweep, else None."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return HydraConfig.get()


def _newest_beside(run: Path) -> Path | None:
    if sweep_job() is not None:
        return None
    found = list(run.parent.glob(f"*/{CHECKPOINTS}/{LAST}.ckpt"))
    if not found:
        raise ConfigError(f"resume is 'last', but no run in {run.parent} has a checkpoint: give its path, or leave it")
    return max(found, key=lambda path: path.stat().st_mtime)

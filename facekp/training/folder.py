"""The run folder: the settings of its run, whether that has finished, where it continues, and its place in a sweep.

A run folder holds one run. Starting again in it continues that run, or returns its score if it has finished; other
settings are rejected, so that two runs never mix. This makes sweeps restartable.
"""

import json
import math
import re
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from facekp.config import EXCLUDED, Config, LossConfig, OptimConfig, fold
from facekp.data.exclusions import excluded_digest
from facekp.errors import CheckpointError, ConfigError
from facekp.files import expand, walk
from facekp.settings import Affects, settings_that
from facekp.training.compose import schema_of
from facekp.weights.paths import CHECKPOINTS, LAST, require_file

SUMMARY = "metrics.json"  # file of a finished run: its scores, settings and cost
ERROR = "error.txt"  # file with the error that ended the run, in one line; removed when the run starts again
PRUNED = "pruned.txt"  # file of a trial that a search stopped early
COMPOSED = ".hydra"  # folder in a run folder with the settings that Hydra composed
SETTINGS = "settings"  # key of a checkpoint's record of its training settings
RENAMED = {"data.degrade": "data.corrupt", "data.left_out": EXCLUDED}  # settings' names in older runs
ANY_TIME = settings_that(Config, Affects.MACHINE, Affects.SPEED, Affects.PLACE)  # may change in a run's own folder


class OtherSettingsError(ConfigError):
    """A run would continue with other settings than it was trained with.

    Attributes:
        source: the file that holds the run's settings.
        settings: those settings, nested.
    """

    # Not constructor arguments: those would not survive pickling, by which jobs in other processes send their errors.
    source: Path
    settings: dict[str, Any]


class StoppedError(Exception):
    """A search stopped the run because others do better."""


def record_settings(config: Config, excluded: str | None) -> dict[str, Any]:
    """Return a run's nested record of its settings, without its folder, which may be moved.

    `excluded` is the digest of the images that `data.exclude` excludes.
    """
    record = asdict(config)
    del record["output_dir"]
    group, name = EXCLUDED.split(".")
    record[group][name] = excluded
    return record


def complete(settings: dict[str, Any]) -> dict[str, Any]:
    """Flatten a run's record of its settings, with current names and the defaults of settings added since."""
    loss, optim = schema_of(LossConfig, settings.get("loss", {})), schema_of(OptimConfig, settings.get("optim", {}))
    defaults = asdict(Config(model={"name": ""}, loss=loss(), optim=optim()))
    renamed = {RENAMED.get(name, name): value for name, value in fold(settings).items()}
    return fold(defaults) | {EXCLUDED: None} | renamed


def keep_settings(config: Config) -> None:
    """Replace the settings that Hydra composed with the resolved ones: the environment may change later."""
    folder = Path(config.output_dir) / COMPOSED
    if folder.is_dir():
        record = record_settings(config, excluded_digest(config.data.exclude))
        OmegaConf.save({**record, "output_dir": config.output_dir}, folder / "config.yaml")


def require_same(
    record: dict[str, Any], then: dict[str, Any], source: Path, *, free: Collection[str] = ANY_TIME
) -> None:
    """Raise OtherSettingsError if the requested settings differ from those `then`, read from `source`, but for `free`.

    Both are records of settings; see `record_settings`.
    """
    now, before = fold(record), complete(then)
    # Another network has its own settings; then its name differs.
    differing = [name for name in now if name not in free and name in before and now[name] != before[name]]
    if differing:
        name, *others = differing
        too = f" (different as well: {', '.join(others)})" if others else ""
        error = OtherSettingsError(
            f"{name} is {now[name]!r}, but '{source}' was trained with {before[name]!r}{too}: use the same, or another "
            "run folder (hydra.run.dir=; hydra.sweep.dir= of a sweep)"
        )
        error.source, error.settings = source, then
        raise error


def finished_score(config: Config) -> float | None:
    """Return the best score of the finished run in the run folder, or None if there is none.

    Raises:
        ConfigError: it was trained with other settings, or its `metrics.json` is not a run's.
    """
    path = Path(config.output_dir) / SUMMARY
    if not path.is_file():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        settings, best = summary["settings"], summary["val"]["best"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"'{path}' is not the summary of a run: remove it, or give another hydra.run.dir") from None
    require_same(record_settings(config, excluded_digest(config.data.exclude)), settings, path)
    return score_of(config, best)


def score_of(config: Config, scores: dict[str, Any]) -> float:
    """Return the score named by `callbacks.monitor` from a summary's scores; nan if the run has diverged."""
    score = scores[config.callbacks.monitor.removeprefix("val/")]
    return math.nan if score is None else float(score)


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


def sweep_job() -> Any | None:
    """Return Hydra's own settings if this is a job of a sweep, else None."""
    swept = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return HydraConfig.get() if swept else None


def job_name(sweep: Path, overrides: list[str]) -> str:
    """Return the overrides of a job that the sweep varies, such as "optim.lr=0.01,seed=1"; "" if there are none."""
    file = sweep / "multirun.yaml"  # Hydra writes it before the first job
    if not file.is_file():
        return ""
    hydra = OmegaConf.load(file).hydra
    given = [f"{name}={value}" for name, value in (hydra.sweeper.get("params") or {}).items()]
    # The command line comes after the sweeper's own.
    parsed = OverridesParser.create().parse_overrides([*given, *hydra.overrides.task])
    varied = {override.get_key_element(): override.is_sweep_override() for override in parsed}
    return ",".join(override for override in overrides if varied.get(override.partition("=")[0]))


def job_folders(folder: Path) -> list[Path]:
    """Return the run folders in `folder`, at any depth; those of a sweep are sorted by their number."""

    def place(job: Path) -> tuple[Path, int, str]:
        file = job / COMPOSED / "hydra.yaml"
        number = OmegaConf.select(OmegaConf.load(file), "hydra.job.num") if file.is_file() else None
        leading = re.match(r"\d+", job.name)
        return job.parent, int(leading[0] if number is None and leading else -1 if number is None else number), job.name

    return sorted((path for path, subfolders, _ in walk(folder) if COMPOSED in subfolders), key=place)

"""A Hydra sweep on disk: the folders of its jobs, and what it varies."""

import re
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from facekp.training.folder import COMPOSED

SWEEP = "multirun.yaml"
"""File that Hydra writes into a sweep's folder before the first job."""


def sweep_job() -> Any | None:
    """Return Hydra's own settings if this is a job of a sweep, else None."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return HydraConfig.get()


def job_folders(folder: Path) -> list[Path]:
    """Return the run folders in `folder`, at any depth: those of a sweep by their number."""
    jobs = (path.parent for path in folder.rglob(COMPOSED))
    return sorted(jobs, key=lambda job: (job.parent, _number(job), job.name))


def job_name(sweep: Path, overrides: list[str]) -> str:
    """Return those of a job's overrides that the sweep varies, as "optim.lr=0.01,seed=1"; "" if it varies none."""
    if not (sweep / SWEEP).is_file():
        return ""
    hydra = OmegaConf.load(sweep / SWEEP).hydra
    given = [f"{name}={value}" for name, value in (hydra.sweeper.get("params") or {}).items()]
    # The command line comes after the sweeper's own.
    parsed = OverridesParser.create().parse_overrides([*given, *hydra.overrides.task])
    varied = {override.get_key_element(): override.is_sweep_override() for override in parsed}
    return ",".join(override for override in overrides if varied.get(override.partition("=")[0]))


def _number(job: Path) -> int:
    """Return a job's number in its sweep; -1 if it is unknown."""
    file = job / COMPOSED / "hydra.yaml"
    number = OmegaConf.select(OmegaConf.load(file), "hydra.job.num") if file.is_file() else None
    if number is None:
        leading = re.match(r"\d+", job.name)
        return int(leading[0]) if leading else -1
    return int(number)

"""What Hydra leaves of a sweep: what it varies, the folders of the jobs that were started, and which were to be."""

import re
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

ERROR = "error.txt"
"""File of a run folder that says, in a line, what ended the run; gone once it is started again."""
PRUNED = "pruned.txt"
"""File of a run folder whose trial a search has stopped."""
COMPOSED = ".hydra"
"""Folder in a run folder with the settings that Hydra composed."""
SWEEP = "multirun.yaml"
"""File that Hydra writes into a sweep's folder before the first job."""


def job_folders(folder: Path) -> list[Path]:
    """Return the run folders in `folder`, at any depth: those of a sweep by their number."""
    jobs = (path.parent for path in folder.rglob(COMPOSED))
    return sorted(jobs, key=lambda job: (job.parent, job_number(job), job.name))


def job_number(job: Path) -> int:
    """Return a job's number in its sweep; -1 where it is not known."""
    file = job / COMPOSED / "hydra.yaml"
    number = OmegaConf.select(OmegaConf.load(file), "hydra.job.num") if file.is_file() else None
    if number is None:
        leading = re.match(r"\d+", job.name)
        return int(leading[0]) if leading else -1
    return int(number)


def job_name(sweep: Path, overrides: list[str]) -> str:
    """Return those of a job's overrides that the sweep varies, as "optim.lr=0.01,seed=1"; "" where it varies none."""
    varied = {name for name, override in _overrides(sweep).items() if override.is_sweep_override()}
    return ",".join(override for override in overrides if override.partition("=")[0] in varied)


def planned_jobs(sweep: Path) -> list[str]:
    """Return every job's name, as Hydra's own sweeper makes them.

    Of another sweeper they cannot be told, nor of a folder that is no sweep's: [].
    """
    file = sweep / SWEEP
    if not file.is_file() or not OmegaConf.load(file).hydra.sweeper._target_.endswith(".BasicSweeper"):
        return []
    try:
        (jobs,) = BasicSweeper.split_arguments(list(_overrides(sweep).values()), None)
    except HydraException:  # glob(*) needs conf/
        return []
    return [job_name(sweep, job) for job in jobs]


def _overrides(sweep: Path) -> dict[str, Override]:
    """Return what a sweep was started with, by name; the command line comes after the sweeper's own."""
    file = sweep / SWEEP
    if not file.is_file():
        return {}
    hydra = OmegaConf.load(file).hydra
    given = [f"{name}={value}" for name, value in (hydra.sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create().parse_overrides([*given, *hydra.overrides.task])
    return {override.get_key_element(): override for override in parsed}

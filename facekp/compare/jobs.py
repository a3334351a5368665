"""What Hydra leaves of a sweep: the folders of the jobs that were started, and which were to be."""

import re
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

ERROR = "error.txt"
"""File of a run folder that says, in a line, what ended the run; gone once it is started again."""
COMPOSED = ".hydra"
"""Folder in a run folder with the settings that Hydra composed."""


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


def planned_jobs(sweep: Path) -> list[str]:
    """Return the overrides in which every job differs from the others, as Hydra's own sweeper makes them.

    Of another sweeper they cannot be told, nor of a folder that is no sweep's: [].
    """
    file = sweep / "multirun.yaml"
    hydra = OmegaConf.select(OmegaConf.load(file), "hydra") if file.is_file() else None
    if hydra is None or not hydra.sweeper._target_.endswith(".BasicSweeper"):
        return []
    given = [f"{name}={value}" for name, value in (hydra.sweeper.params or {}).items()]
    try:
        overrides = OverridesParser.create().parse_overrides([*given, *hydra.overrides.task])
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
    except HydraException:  # glob(*) needs conf/
        return []
    common = set.intersection(*map(set, jobs))
    return [" ".join(override for override in job if override not in common) for job in jobs]

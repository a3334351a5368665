"""The jobs of a sweep: those that were started, and those that were to be."""

import re
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf


def job_folders(sweep: Path) -> list[Path]:
    """Return the job folders of a sweep, by number."""
    return sorted((path.parent for path in sweep.glob("*/.hydra")), key=lambda job: (job_number(job), job.name))


def job_number(job: Path) -> int:
    """Return a job's number in its sweep; -1 where it is not known."""
    file = job / ".hydra" / "hydra.yaml"
    number = OmegaConf.select(OmegaConf.load(file), "hydra.job.num") if file.is_file() else None
    if number is None:
        leading = re.match(r"\d+", job.name)
        return int(leading[0]) if leading else -1
    return int(number)


def planned_jobs(sweep: Path) -> list[list[str]]:
    """Return every job's overrides, as Hydra's own sweeper makes them; of another sweeper they cannot be told: []."""
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
    return [list(job) for job in jobs]

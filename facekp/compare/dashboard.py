"""A sweep's comparison on W&B: a run of its own, in the sweep's group, with the table and the page."""

from pathlib import Path
from typing import cast

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from facekp.config import LoggerConfig
from facekp.training.folder import COMPOSED, job_folders
from facekp.training.history import Tolerance
from facekp.training.loggers import TIMEOUT, Mode, closing_wandb, started


def send_comparison(sweep: Path, name: str) -> None:
    """Send the comparison in a sweep's folder to W&B, if the logger's settings of its jobs ask for it.

    `NAME.csv` is the table, and `NAME.html` the artifact, of a run called `name`. An error of W&B is printed.
    """
    configs = (job / COMPOSED / "config.yaml" for job in job_folders(sweep))
    first = next(filter(Path.is_file, configs), None)
    own = cast(DictConfig, OmegaConf.load(first)).get("logger", {}) if first else {}
    logger = cast(LoggerConfig, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(LoggerConfig), own)))
    if not (logger.log_comparison and logger.name == "wandb"):
        return
    import wandb  # takes a second

    def start(mode: Mode) -> wandb.Run:
        return wandb.init(
            project=logger.project,
            entity=logger.entity,
            group=logger.group or sweep.name,
            name=name,
            job_type=name,
            dir=sweep,
            settings=wandb.Settings(silent=True, console="off", mode=mode, init_timeout=TIMEOUT),
        )

    with Tolerance("W&B"), closing_wandb(logger):
        run = started(logger, sweep, start)
        run.log({name: wandb.Table(dataframe=pd.read_csv(sweep / f"{name}.csv"))})
        page = wandb.Artifact(f"{name}-{run.id}", name)
        page.add_file(str(sweep / f"{name}.html"))
        run.log_artifact(page)

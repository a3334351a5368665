"""Run folders of their own: no two runs or sweeps write into one at a time."""

import atexit
import os
from contextlib import ExitStack, suppress
from itertools import chain, count
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from facekp.errors import ConfigError, one_line_errors, require
from facekp.files import LOCK, claim, contains, keep_foreign, make_folder, writing


def is_first_process() -> bool:
    """Return whether this is the first process of a run, or its only one."""
    # As numbered by torchrun, by SLURM, and by torchrun and Lightning.
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def claim_run(folder: Path, kind: str = "run") -> ExitStack:
    """Keep other processes out of a run's or sweep's folder until the returned context ends or this process does.

    Raises:
        DataError: another process has claimed it.
    """
    stack = ExitStack()
    if is_first_process():
        remedy = f"wait for its end, or give another hydra.{kind}.dir"
        stack.enter_context(claim(folder, f"'{folder}': a {kind} is under way in this folder; {remedy}"))
    return stack


class ClaimFolder(Callback):
    """Claim the folder of a run or sweep before Hydra writes into it.

    A folder that is named by the time gets a number if it exists: another run began in the same second.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Claim the run folder."""
        self._claim(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Claim the sweep's folder; each job claims its own when it starts."""
        self._claim(config, "sweep")

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: launchers pickle the callback for jobs in other processes, and the claim is this one's."""
        return {}

    def _claim(self, config: DictConfig, kind: str) -> None:
        HydraConfig.instance().set_config(config)  # a folder's name may refer to it, as in ${hydra:job.name}
        # Hydra turns a callback's error into a warning, but not an exit.
        with one_line_errors(), read_write(config.hydra), open_dict(config.hydra):
            unresolved = cast(dict[str, Any], OmegaConf.to_container(config.hydra[kind]))
            require(f"hydra.{kind}.dir", unresolved["dir"], unresolved["dir"] != "", "give a folder; . is this one")
            named_by_time = "%S" in unresolved["dir"]  # by the second of its start, so it is meant for one run alone
            if named_by_time and "TORCHELASTIC_RUN_ID" in os.environ:
                raise ConfigError("torchrun: each process would name a folder by its own clock; give hydra.run.dir=")
            if not is_first_process():
                config.hydra.output_subdir = None  # the first process writes the settings
                return
            folder = Path(config.hydra[kind].dir)
            if named_by_time:
                folder = make_new_folder(folder)
                config.hydra[kind].dir = str(folder)
                quoted = str(folder).replace("'", "\\'")
                config.hydra.overrides.hydra.append(f"hydra.{kind}.dir='{quoted}'")  # jobs are composed again
            written = (folder / ".hydra" / "hydra.yaml", folder / "multirun.yaml")  # which Hydra would replace
            keep_foreign(dict.fromkeys(written, contains(b"facekp")), remedy=f"give another hydra.{kind}.dir")
            self.held = claim_run(make_folder(folder), kind)
            atexit.register(_remove_unused, folder)


def make_new_folder(folder: Path) -> Path:
    """Create a folder that did not exist: `folder`, or the first free one of `folder`_2, `folder`_3, ..."""
    with writing(folder):
        for path in chain([folder], (folder.with_name(f"{folder.name}_{number}") for number in count(2))):
            with suppress(FileExistsError):
                path.mkdir(parents=True)
                return path
    raise AssertionError


def _remove_unused(folder: Path) -> None:
    """Remove a folder in which nothing was written, because Hydra refused the command line."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()

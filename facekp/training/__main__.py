"""Training: `facekp train model=resnet18`, or several networks: `facekp train -m model=resnet18,residual_attention`."""

import os
import re
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import facekp
from facekp.data.exclusions import excluded_digest
from facekp.data.layout import check_source
from facekp.errors import ConfigError, FacekpError, explain, one_line_errors, require
from facekp.files import LOCK
from facekp.hardware import import_large
from facekp.training.compose import CONF, read_config, register_schema, require_names
from facekp.training.folder import COMPOSED, ERROR, SUMMARY, OtherSettingsError, resume_path, sweep_job

register_schema()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _train(composed: DictConfig) -> float:
    """Check the composed settings and train; in a sweep, a user's error must not end the other jobs."""
    with nullcontext() if sweep_job() else one_line_errors():
        run = Path(HydraConfig.get().runtime.output_dir)
        try:
            config = read_config(composed)
            check_source(config.data)
            excluded_digest(config.data.exclude)
            if not (run / SUMMARY).is_file():
                resume_path(config)
            import_large("facekp.training.run")  # torch and Lightning take seconds: mistakes are reported first
            from facekp.training.run import train

            return train(config)
        except FacekpError as error:
            _clean_up(run, error)
            raise


def _clean_up(run: Path, error: FacekpError) -> None:
    """Remove a run folder in which a user's error left only Hydra's files; otherwise write the error into it.

    If the folder holds a run with other settings, restore them: Hydra has overwritten them with the rejected ones.
    """
    if isinstance(error, OtherSettingsError) and error.source.is_relative_to(run):
        OmegaConf.save({**error.settings, "output_dir": str(run)}, run / COMPOSED / "config.yaml")
    own = {*(run / COMPOSED).glob("*.yaml"), run / f"{HydraConfig.get().job.name}.log", run / LOCK}
    if {path for path in run.rglob("*") if path.is_file()} <= own:
        for path in own:
            path.unlink(missing_ok=True)
        for path in (run / COMPOSED, run):
            with suppress(OSError):  # it contains folders
                if not path.samefile("."):
                    path.rmdir()
    elif not isinstance(error, OtherSettingsError):
        # Hydra has no callback for the error of a single run, which ends the program.
        with suppress(OSError):  # the error may be a full disk
            (run / ERROR).write_text(f"{explain(error)}\n", encoding="utf-8")


def main() -> None:
    """Check the options, compose the settings and train."""
    options = ArgumentParser(parents=[get_args_parser()], add_help=False, conflict_handler="resolve")
    options.error = _refuse  # type: ignore[method-assign]  # its own prints the usage, 12 lines
    options.add_argument("--version", action="version", version=f"facekp {facekp.__version__}")
    given = options.parse_args()
    _check(given)
    require_names(given.overrides)
    _train()


def _check(given: Namespace) -> None:
    """Raise ConfigError for options that Hydra would ignore, or answer with a traceback."""
    modes = ("run", "multirun", "cfg", "info", "shell_completion")  # what to do, one at a time
    several = [f"--{mode.replace('_', '-')}" for mode in modes if getattr(given, mode)]
    if len(several) > 1:
        raise ConfigError(f"{' and '.join(several)}: give one of them")
    if given.resolve and not (given.cfg or given.help):
        raise ConfigError("--resolve: give --cfg job too")
    require("--package", given.package, given.package is None or given.cfg, "give --cfg job too")
    pickled = given.experimental_rerun
    require("--experimental-rerun", pickled, pickled is None, "continue a run by its command and hydra.run.dir=FOLDER")
    for option, folder in (("--config-path", given.config_path), ("--config-dir", given.config_dir)):
        found = folder is None or folder.startswith("pkg://") or os.path.isdir(folder.removeprefix("file://"))
        require(option, folder, found, "no such folder; give its whole path")
    completion = r"(install|uninstall|query)=(bash|fish|zsh)"
    if given.shell_completion and not re.fullmatch(completion, " ".join(given.overrides)):
        raise ConfigError("--shell-completion: give install=SHELL or uninstall=SHELL alone, of bash, fish or zsh")


def _refuse(message: str) -> NoReturn:
    options = "options before or after all of them (--help lists settings, --hydra-help options)"
    raise ConfigError(f"{message}; write settings as key=value, {options}")


if __name__ == "__main__":
    with one_line_errors():
        main()

"""Training: `facekp train model=resnet18`, or several networks: `facekp train -m model=resnet18,residual_attention`."""

import os
import re
from argparse import ArgumentParser, Namespace
from typing import Final, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

import facekp
from facekp.errors import ConfigError, one_line_errors, require
from facekp.training.compose import CONF, register_schema, require_names
from facekp.training.folder import checked_settings

MODES: Final = ("run", "multirun", "cfg", "info", "shell_completion")
"""Options of Hydra's that say what to do, one at a time."""
COMPLETION: Final = re.compile(r"(install|uninstall|query)=(bash|fish|zsh)")

register_schema()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _train(composed: DictConfig) -> float:
    """Check the composed settings and train."""
    with checked_settings(composed) as config:
        from facekp.training.run import train  # torch and Lightning take seconds: mistakes are reported first

        return train(config)


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
    several = [f"--{mode.replace('_', '-')}" for mode in MODES if getattr(given, mode)]
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
    if given.shell_completion and not COMPLETION.fullmatch(" ".join(given.overrides)):
        raise ConfigError("--shell-completion: give install=SHELL or uninstall=SHELL alone, of bash, fish or zsh")


def _refuse(message: str) -> NoReturn:
    options = "options before or after all of them (--help lists settings, --hydra-help options)"
    raise ConfigError(f"{message}; write settings as key=value, {options}")


if __name__ == "__main__":
    with one_line_errors():
        main()

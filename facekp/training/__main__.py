"""Training: `facekp train model=resnet18`, or several networks: `facekp train -m model=resnet18,residual_attention`."""

from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from facekp.errors import ConfigError, one_line_errors
from facekp.training.compose import CONF, register_schema
from facekp.training.folder import checked_settings

register_schema()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _train(composed: DictConfig) -> float:
    """Check the composed settings and train."""
    with checked_settings(composed) as config:
        from facekp.training.run import train  # torch and Lightning take seconds: mistakes are reported first

        return train(config)


def main() -> None:
    """Check the options, compose the settings and train."""
    options = get_args_parser()
    options.error = _refuse  # type: ignore[method-assign]  # its own prints the usage, 12 lines
    options.parse_args()
    _train()


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; write settings as key=value (--help lists them, --hydra-help the options)")


if __name__ == "__main__":
    with one_line_errors():
        main()

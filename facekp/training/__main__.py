"""Training: `facekp train model=resnet18`, or several networks: `facekp train -m model=resnet18,residual_attention`."""

import hydra
from omegaconf import DictConfig

from facekp.errors import one_line_errors
from facekp.training.compose import CONF, register_schema
from facekp.training.folder import checked_settings

register_schema()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(composed: DictConfig) -> float:
    """Check the composed settings and train."""
    with checked_settings(composed) as config:
        from facekp.training.run import train  # torch and Lightning take seconds: mistakes are reported first

        return train(config)


if __name__ == "__main__":
    with one_line_errors():
        main()

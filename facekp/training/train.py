"""Training: build the data, the module and the trainer, fit, and test."""

from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from facekp.config import Config
from facekp.training.compose import CONF, register_schema
from facekp.training.folder import checked_settings

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

register_schema()


def train(config: Config, *callbacks: "Callback") -> float:
    """Run one job, or the rest of an interrupted one, and return its best validation score."""
    # Imported here, because torch and Lightning take seconds: mistakes in the settings are reported first.
    from facekp.training.loggers import build_loggers
    from facekp.training.run import build_data, build_module, build_trainer, run

    with run(config) as this:
        if this.score is not None:
            return this.score
        module, data = build_module(config, this.resume), build_data(config)
        this.trainer = trainer = build_trainer(config, build_loggers(config, this.resume), this.resume, callbacks)
        trainer.fit(module, data, ckpt_path=this.checkpoint, weights_only=True)
        if data.samples["test"]:
            trainer.test(module, data, ckpt_path=this.best, weights_only=True, verbose=False)
        return this.finish(trainer)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(composed: DictConfig) -> float:
    """Check the composed settings and train."""
    with checked_settings(composed) as config:
        return train(config)

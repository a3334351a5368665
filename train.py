"""Train a face parsing network: `python train.py model=resnet18`, `python train.py -m model=resnet18,residual_attention`."""

import logging

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig

from facekp.config import read_config, register_schema
from facekp.errors import one_line_errors
from facekp.loggers import build_loggers, finish_loggers
from facekp.training import build_data, build_module, build_trainer, find_resume, write_summary

register_schema()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> float:
    """Run one training job and return its best validation mIoU."""
    config = read_config(composed)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    pl.seed_everything(config.seed, verbose=False)
    module = build_module(config)
    data = build_data(config)
    resume = find_resume(config)
    log, loggers = build_loggers(config, resume)
    try:
        trainer = build_trainer(config, loggers)
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        if trainer.global_step not in log.validated_steps:
            trainer.validate(module, data, verbose=False)
        if data.samples["test"]:
            trainer.test(module, data, ckpt_path="best", weights_only=True, verbose=False)
        summary = write_summary(config, log)
    finally:
        finish_loggers(config)
    val = summary["val"]["best"]
    print(f"val mIoU {val['miou']:.3f}, mean F1 {val['mean_f1']:.3f}, loss {val['loss']:.3f} (step {val['step']})")
    print(f"run folder: {config.output_dir}")
    return float(val["miou"])


if __name__ == "__main__":
    with one_line_errors():
        main()

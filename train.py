"""Train: `python train.py model=resnet18`, or several: `python train.py -m model=resnet18,residual_attention`."""

import logging
import warnings
from contextlib import nullcontext

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig

from facekp.config import Config, read_config, register_schema
from facekp.errors import one_line_errors
from facekp.hardware import keep_freed_memory
from facekp.training.callbacks import best_checkpoint
from facekp.training.loggers import build_loggers, closing_wandb
from facekp.training.optuna_trial import pruned_score
from facekp.training.resume import find_resume
from facekp.training.run import (
    build_data,
    build_module,
    build_trainer,
    discard_unused,
    interrupts,
    keep_settings,
)
from facekp.training.summary import finished_score, score_of, write_summary
from facekp.weights.load import begin_with

register_schema()


def train(config: Config) -> float:
    """Run one job, or what is left of it, and return its best validation score."""
    if (score := finished_score(config)) is not None:
        print(f"finished before, {config.callbacks.monitor} {score:.3f}: {config.output_dir}")
        return score
    keep_freed_memory()
    pl.seed_everything(config.seed, verbose=False)
    module = build_module(config)
    data = build_data(config)
    resume = find_resume(config)
    keep_settings(config)
    if config.init and not resume:  # a resumed run has its own, and the file may be gone
        rank_zero_only(print)(f"init: {begin_with(module.net, config.init)} of {config.init}")
    with closing_wandb(config):
        log, loggers = build_loggers(config, resume)
        trainer = build_trainer(config, loggers, resume)
        with interrupts(trainer):
            trainer.fit(module, data, ckpt_path=resume.checkpoint if resume else None, weights_only=True)
            if (score := pruned_score(trainer)) is not None:
                return score  # the search stopped it: its folder has no summary
            if data.samples["test"]:
                trainer.test(module, data, ckpt_path=best_checkpoint(config), weights_only=True, verbose=False)
    best = write_summary(config, log)["val"]["best"]
    if trainer.is_global_zero:
        loss = "nan" if best["loss"] is None else f"{best['loss']:.3f}"
        scores = f"val mIoU {best['miou']:.3f}, mean F1 {best['mean_f1']:.3f}, loss {loss}"
        print(f"{scores} (step {best['step']})\nrun folder: {config.output_dir}")
    return score_of(config, best)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> float:
    """Check the composed settings and train."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Our stream does resume (facekp.data.sampler), which Lightning cannot know; the other is between it and torch.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable")
    warnings.filterwarnings("ignore", ".*LeafSpec")
    warnings.filterwarnings("ignore", "The dirpath has changed")  # a run may be resumed in another folder
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # or in its own
    warnings.filterwarnings("ignore", ".*sync_dist=True")  # torchmetrics has added the processes up
    # A job of a sweep that fails must not end the others, so only a single run ends here.
    single = HydraConfig.get().mode == RunMode.RUN
    with one_line_errors() if single else nullcontext(), discard_unused(composed.output_dir):
        return train(read_config(composed))


if __name__ == "__main__":
    with one_line_errors():
        main()

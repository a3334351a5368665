"""One training run: building its parts, training, its setup and cleanup, and its summary."""

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import Callback, ProgressBar
from pytorch_lightning.loggers.logger import Logger

from facekp.config import Config
from facekp.data.datamodule import FaceDataModule
from facekp.data.layout import source_classes
from facekp.errors import ConfigError, require
from facekp.files import begins_with, keep_foreign, make_folder, write_file
from facekp.hardware import describe_machine, keep_freed_memory, list_versions, resolve_accelerator, resolve_precision
from facekp.models import build_without_weights
from facekp.models.registry import multiply_adds
from facekp.training.callbacks import BesideCheckpointIO, build_callbacks
from facekp.training.claim import claim_run
from facekp.training.folder import (
    SUMMARY,
    Resume,
    find_resume,
    finished_score,
    keep_settings,
    record_settings,
    score_of,
    sweep_job,
)
from facekp.training.history import RunLog
from facekp.training.loggers import TolerantWandbLogger, build_loggers, closing_wandb
from facekp.training.module import FaceParsing
from facekp.training.rows import FILE, MARK, measured_cost, nest_scores, score_rows
from facekp.weights.checkpoint import is_checkpoint
from facekp.weights.load import begin_with
from facekp.weights.paths import BEST, CHECKPOINTS, LAST


def train(config: Config, *callbacks: Callback) -> float:
    """Run one job, or the rest of an interrupted one, and return its best validation score.

    Raises:
        DataError: another process is running in its folder, or it holds files that facekp did not write.
        ConfigError: its folder holds a run with other settings, or Lightning rejects the settings for this data.
        KeyboardInterrupt: Ctrl-C or SIGTERM, which also end a sweep; a printed line says how to continue.
    """
    with claim_run(make_folder(Path(config.output_dir))):
        if (score := finished_score(config)) is not None:
            print(f"already finished, {config.callbacks.monitor} {score:.3f}: {config.output_dir}")
            return score
        with run(config) as this:
            module, data = build_module(config, this.resume), build_data(config)
            this.trainer = trainer = build_trainer(config, build_loggers(config, this.resume), this.resume, callbacks)
            checkpoint = this.resume.checkpoint if this.resume else None
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
            if data.samples["test"]:
                trainer.test(module, data, ckpt_path=this.best, weights_only=True, verbose=False)
            return this.finish(trainer)


@dataclass(eq=False)
class Run:
    """A run in its folder: its settings, the checkpoint that it continues from, and its trainer, once that is built."""

    config: Config
    resume: Resume | None
    trainer: pl.Trainer | None = None

    @property
    def best(self) -> Path:
        """Path of its best checkpoint."""
        return Path(self.config.output_dir) / CHECKPOINTS / f"{BEST}.ckpt"

    def finish(self, trainer: pl.Trainer) -> float:
        """Write its summary, print the best scores, and return the one named by `callbacks.monitor`."""
        best = write_summary(self.config, trainer)["val"]["best"]
        if self.config.logger.log_model:
            for logger in trainer.loggers:
                if isinstance(logger, TolerantWandbLogger):
                    logger.log_checkpoint(self.best, best)
        loss = "nan" if best["loss"] is None else f"{best['loss']:.3f}"
        scores = f"val mIoU {best['miou']:.3f}, mean F1 {best['mean_f1']:.3f}, loss {loss}"
        rank_zero_only(print)(f"{scores} (step {best['step']})\nrun folder: {self.config.output_dir}")
        return score_of(self.config, best)


@contextmanager
def run(config: Config) -> Iterator[Run]:
    """Seed a run, find its checkpoint, save its settings, and close its loggers however it ends."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (  # that do not apply here
        ".*your dataloader is not resumable",  # Lightning cannot know that our stream does resume (facekp.data.sampler)
        ".*LeafSpec",  # between Lightning and torch
        "The dirpath has changed",  # a run may be resumed in another folder
        "Checkpoint directory .* exists and is not empty",  # or in its own
        ".*sync_dist=True",  # torchmetrics has added the processes up
    ):
        warnings.filterwarnings("ignore", message)
    keep_freed_memory()
    pl.seed_everything(config.seed, verbose=False)
    this = Run(config, find_resume(config))
    if not this.resume:
        remedy = "give another run folder (hydra.run.dir=; hydra.sweep.dir= of a sweep)"
        keep_foreign({Path(config.output_dir) / FILE: begins_with(MARK), this.best: is_checkpoint}, remedy=remedy)
    rank_zero_only(keep_settings)(config)
    with closing_wandb(config.logger):
        try:
            yield this
        except MisconfigurationException as error:
            reason = f"the trainer cannot run with these settings ({error})"
            raise ConfigError(f"{reason}: change the one that it names") from error
        except (SystemExit, RuntimeError) as error:
            if config.trainer.compile and isinstance(error, torch._dynamo.exc.BackendCompilerFailed):
                reason = str(error.inner_exception).splitlines()[0]
                raise ConfigError(
                    f"trainer.compile is true, but torch cannot compile ({reason}): install a C++ compiler, such as "
                    "g++, or use trainer.compile=false"
                ) from error
            # Lightning turns Ctrl-C into exit status 1. A scheduler also sends SIGTERM to the loader workers, and torch
            # raises an error when they die. Any other exit is submitit's, which requeues the job.
            ctrl_c = isinstance(error, SystemExit) and error.code == 1
            if not (ctrl_c or (this.trainer is not None and this.trainer.received_sigterm)):
                raise
            last = Path(config.output_dir) / CHECKPOINTS / f"{LAST}.ckpt"
            if (hydra := sweep_job()) is not None:
                print(f"the same command with hydra.sweep.dir={hydra.sweep.dir} continues this sweep", file=sys.stderr)
            elif last.is_file():
                print(f"the same command with hydra.run.dir={config.output_dir} continues this run", file=sys.stderr)
            else:
                step = config.trainer.val_every
                print(f"nothing to continue: the first checkpoint was due at step {step}", file=sys.stderr)
            raise KeyboardInterrupt from None


def write_summary(config: Config, trainer: pl.Trainer) -> dict[str, Any]:
    """Write the final scores of a run to `metrics.json`, on one process, and return them.

    Raises:
        ConfigError: the run has no validation, so nothing is left to do.
    """
    log = next(logger for logger in trainer.loggers if isinstance(logger, RunLog))
    rows = [log.rows[step] for step in sorted(log.rows)]
    scores = score_rows(rows, config.callbacks)
    if not scores["val"]:
        finished = f"'{config.resume or config.output_dir}' is a finished run without a metrics.csv"
        raise ConfigError(f"{finished}: nothing is left to do")
    summary: dict[str, Any] = {"model": config.model, "seed": config.seed, **scores}
    tested = [row for row in rows if "test/miou" in row]
    if tested:
        # The best checkpoint was tested, not the last.
        summary["test"] = nest_scores({**tested[-1], "step": scores["val"]["best"]["step"]}, "test")
    with torch.device("meta"):
        net = build_without_weights(**config.model, classes=len(trainer.lightning_module.classes))  # type: ignore[arg-type]
    size = {
        "parameters": sum(p.numel() for p in net.parameters()),
        "multiply_adds": multiply_adds(net, config.data.crop),
    }
    summary |= {
        "cost": {**size, **measured_cost(rows)},
        "settings": record_settings(config, trainer.datamodule.excluded_digest),  # type: ignore[attr-defined]  # its own
        "machine": describe_machine(),
        "precision": resolve_precision(config.trainer.precision, config.trainer.accelerator),
        "versions": list_versions(),
    }
    if trainer.is_global_zero:  # the file marks the run as finished
        write_file(Path(config.output_dir) / SUMMARY, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def build_module(config: Config, resume: Resume | None = None) -> FaceParsing:
    """Return the module of `config`, with plain hyperparameters and, in a new run, the weights that `init` names."""
    t, plain = config.trainer, asdict(config)
    parts = {group: plain[group] for group in ("model", "loss", "optim")}
    classes = source_classes(config.data).to_plain()
    module = FaceParsing(**parts, total_steps=t.max_steps, size=config.data.size, compile=t.compile, classes=classes)
    if config.init and not resume:  # a resumed run has its own, and the file may be gone
        loaded, module.terms = begin_with(module.net, config.init, module.classes)
        rank_zero_only(print)(f"init: {loaded} of {config.init}")
    return module


def build_data(config: Config) -> FaceDataModule:
    """Return the data module of `config`."""
    return FaceDataModule(config.data, seed=config.seed, total_steps=config.trainer.max_steps)


def build_trainer(
    config: Config, loggers: list[Logger], resume: Resume | None = None, more: Sequence[Callback] = ()
) -> pl.Trainer:
    """Return the trainer of `config`, which logs to `loggers` and has `more` callbacks besides those of the settings.

    Raises:
        ConfigError: hardware or a precision that this machine does not have, or several processes in a job of a sweep.
    """
    t, callbacks = config.trainer, [*build_callbacks(config, resume), *more]
    gpu = torch.cuda.is_available() and t.accelerator != "cpu"
    if not gpu:  # Lightning would silently use something else
        half = t.precision == "16-mixed"
        require("trainer.precision", t.precision, not half, "without a GPU give bf16-mixed or 32-true")
        require("trainer.sync_batchnorm", t.sync_batchnorm, not t.sync_batchnorm, "without a GPU leave it null")
    torch.backends.cudnn.benchmark = gpu and not t.deterministic  # chooses by timing: image sizes do not change
    try:
        trainer = pl.Trainer(
            accelerator=resolve_accelerator(t.accelerator),
            devices=t.devices,
            strategy=t.strategy,
            num_nodes=t.num_nodes,
            precision=resolve_precision(t.precision, t.accelerator),  # type: ignore[arg-type]  # checked by the config
            max_steps=t.max_steps,
            val_check_interval=t.val_every,
            check_val_every_n_epoch=None,
            log_every_n_steps=min(t.log_every, t.max_steps),
            limit_val_batches=t.limit_val_batches,
            num_sanity_val_steps=0,
            gradient_clip_val=t.gradient_clip,
            sync_batchnorm=gpu if t.sync_batchnorm is None else t.sync_batchnorm,
            deterministic=t.deterministic,
            use_distributed_sampler=False,  # the stream splits itself among the processes
            logger=loggers,
            callbacks=callbacks,
            plugins=[BesideCheckpointIO()],
            enable_progress_bar=any(isinstance(one, ProgressBar) for one in callbacks),  # else Lightning adds its own
            enable_model_summary=False,
            default_root_dir=config.output_dir,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer cannot start ({error}): use trainer.accelerator=auto trainer.devices=1") from error
    # Every process that Lightning starts would start the whole sweep again.
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if sweep_job() and trainer.world_size > 1 and environment and not environment.creates_processes_externally:
        raise ConfigError(
            f"trainer.devices makes {trainer.world_size} processes, but a job of a sweep is one: use "
            "trainer.devices=1, or on a cluster hydra/launcher=submitit_slurm (docs/guides/compare.md)"
        )
    for logger in loggers:
        if isinstance(logger, RunLog):
            logger.trainer = trainer
    return trainer

"""The parts of a training run that `train.py` puts together."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import OmegaConf
from pytorch_lightning.loggers.logger import Logger

from facekp.config import Config, TrainerConfig, as_plain
from facekp.data.datamodule import FaceDataModule
from facekp.errors import ConfigError, FacekpError, explain, require
from facekp.hardware import cpu_precision
from facekp.training.callbacks import build_callbacks
from facekp.training.history import RunLog
from facekp.training.module import FaceParsing
from facekp.training.resume import OtherSettingsError, Resume, sweep_job
from facekp.training.sweep import COMPOSED, ERROR
from facekp.weights.paths import CHECKPOINTS, LAST


@contextmanager
def discard_unused(folder: str) -> Iterator[None]:
    """Remove a run folder that a user's error left with nothing but Hydra's own files in it; keep the error in another.

    One that holds a run of other settings gets those back: Hydra has put the refused ones over them already.
    """
    try:
        yield
    except FacekpError as error:
        run = Path(folder)
        if isinstance(error, OtherSettingsError) and error.source.is_relative_to(run):
            OmegaConf.save({**error.settings, "output_dir": folder}, run / COMPOSED / "config.yaml")
        own = {*(run / COMPOSED).glob("*.yaml"), run / f"{HydraConfig.get().job.name}.log"}
        if {path for path in run.rglob("*") if path.is_file()} <= own:
            for path in own:
                path.unlink(missing_ok=True)
            for path in (run / COMPOSED, run):
                with suppress(OSError):  # there are folders in it
                    path.rmdir()
        elif not isinstance(error, OtherSettingsError):
            # Hydra calls nothing after a single run's error, which ends the program.
            with suppress(OSError):  # the error may be a full disk
                (run / ERROR).write_text(f"{explain(error)}\n", encoding="utf-8")
        raise


@rank_zero_only
def keep_settings(config: Config) -> None:
    """Put the run's settings, resolved, in place of those that Hydra composed: the environment may be another later."""
    folder = Path(config.output_dir) / COMPOSED
    if folder.is_dir():
        OmegaConf.save(as_plain(config), folder / "config.yaml")


def build_module(config: Config) -> FaceParsing:
    """Return the module of `config`, with plain hyperparameters."""
    plain = as_plain(config)
    return FaceParsing(
        plain["model"],
        plain["loss"],
        plain["optim"],
        total_steps=config.trainer.max_steps,
        size=config.data.size,
        compile=config.trainer.compile,
    )


def build_data(config: Config) -> FaceDataModule:
    """Return the data module of `config`."""
    return FaceDataModule(config.data, seed=config.seed, total_steps=config.trainer.max_steps)


def build_trainer(config: Config, loggers: list[Logger], resume: Resume | None = None) -> pl.Trainer:
    """Return the trainer of `config`.

    Args:
        config: the run's settings.
        loggers: where it logs.
        resume: where it continues, or None.

    Raises:
        ConfigError: hardware or a precision that this machine does not have, or several processes in a sweep's one.
    """
    t = config.trainer
    gpu = _has_gpu(t)
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
            log_every_n_steps=t.log_every,
            limit_val_batches=t.limit_val_batches,
            num_sanity_val_steps=0,
            gradient_clip_val=t.gradient_clip,
            sync_batchnorm=gpu if t.sync_batchnorm is None else t.sync_batchnorm,
            deterministic=t.deterministic,
            # The stream shares itself out among processes.
            use_distributed_sampler=False,
            logger=loggers,
            callbacks=build_callbacks(config, resume),
            enable_progress_bar=config.callbacks.progress,
            enable_model_summary=False,
            default_root_dir=config.output_dir,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer cannot start ({error}): take trainer.accelerator=auto trainer.devices=1") from error
    _refuse_children_of_a_sweep(trainer)
    for logger in loggers:
        if isinstance(logger, RunLog):
            logger.follow(trainer)
    return trainer


def _has_gpu(t: TrainerConfig) -> bool:
    """Return whether a GPU is used; without one, raise ConfigError for what Lightning would silently replace."""
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    gpu = there and resolve_accelerator(t.accelerator) != "cpu"
    half, sync = t.precision == "16-mixed", t.sync_batchnorm
    require("trainer.precision", t.precision, gpu or not half, "without a GPU give bf16-mixed or 32-true")
    require("trainer.sync_batchnorm", sync, gpu or not sync, "without a GPU leave it null")
    return gpu


def _refuse_children_of_a_sweep(trainer: pl.Trainer) -> None:
    """Raise ConfigError where Lightning would start processes of its own: each would start the whole sweep again."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if sweep_job() and trainer.world_size > 1 and environment and not environment.creates_processes_externally:
        raise ConfigError(
            f"trainer.devices makes {trainer.world_size} processes, but a job of a sweep is one: take "
            "trainer.devices=1, or on a cluster hydra/launcher=submitit_slurm (docs/guides/compare.md)"
        )


def resolve_accelerator(accelerator: str) -> str:
    """Return `accelerator` with "auto" resolved: CUDA where it is, else the CPU.

    Apple's GPUs, which Lightning would take, have no float64, in which losses and scores are summed.
    """
    return accelerator if accelerator != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return `precision` with "auto" resolved: 16-mixed on CUDA, else bf16-mixed where the CPU computes in it."""
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "16-mixed"
    return "bf16-mixed" if cpu_precision() == "bfloat16" else "32-true"


@contextmanager
def interrupts(trainer: pl.Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the whole program, a sweep too, and say how to go on; let other errors pass.

    Raises:
        ConfigError: settings that Lightning finds at odds only with the data, as a share of too few validation batches.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(f"the trainer cannot run with these settings ({error}): change the one it names") from error
    except (SystemExit, RuntimeError) as error:
        # Lightning makes exit status 1 of Ctrl-C. A scheduler sends SIGTERM to the loader's processes too, and torch
        # makes an error of their end. Another exit is submitit's, to be queued again.
        ctrl_c = isinstance(error, SystemExit) and error.code == 1
        if ctrl_c or trainer.received_sigterm:
            last = Path(trainer.default_root_dir) / CHECKPOINTS / f"{LAST}.ckpt"
            if (hydra := sweep_job()) is not None:
                print(f"the same command with hydra.sweep.dir={hydra.sweep.dir} continues this sweep", file=sys.stderr)
            elif last.is_file():
                print(f"resume={last} continues this run", file=sys.stderr)
            raise KeyboardInterrupt from None
        raise

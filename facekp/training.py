"""The parts of a training run that `train.py` puts together."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.loggers.logger import Logger

from facekp.callbacks import CHECKPOINTS, build_callbacks
from facekp.checkpoint import KEY, read_checkpoint
from facekp.config import Config, as_plain, expand
from facekp.data.datamodule import FaceDataModule
from facekp.errors import CheckpointError, ConfigError, FacekpError
from facekp.metrics import nest_scores
from facekp.module import FaceParsing
from facekp.runlog import Resume, RunLog

SUMMARY = "metrics.json"
TRAIN_LOSS_STEPS = 100
"""`train.loss` of a summary is the mean of what was logged in this many last steps."""


@contextmanager
def discard_unused(folder: str) -> Iterator[None]:
    """Remove a run folder that an error left with nothing but Hydra's own files in it."""
    try:
        yield
    except FacekpError:
        written = [p for p in Path(folder).rglob("*") if p.is_file() and ".hydra" not in p.parts and p.suffix != ".log"]
        if not written:
            shutil.rmtree(folder, ignore_errors=True)
        raise


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


def build_trainer(config: Config, loggers: list[Logger]) -> pl.Trainer:
    """Return the trainer of `config`.

    Raises:
        ConfigError: hardware or a precision that this machine does not have.
    """
    t = config.trainer
    try:
        trainer = pl.Trainer(
            accelerator=t.accelerator,
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
            deterministic=t.deterministic,
            # The stream shares itself out among processes.
            use_distributed_sampler=False,
            logger=loggers,
            callbacks=build_callbacks(config),
            enable_progress_bar=config.callbacks.progress,
            enable_model_summary=False,
            default_root_dir=config.output_dir,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer cannot start ({error}): take trainer.accelerator=auto trainer.devices=1") from error
    for logger in loggers:
        if isinstance(logger, RunLog):
            logger.follow(trainer)
    return trainer


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return `precision` with "auto" resolved: 16-mixed on CUDA, else bf16-mixed where the CPU computes in it."""
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "16-mixed"
    has = torch.cpu.get_capabilities()
    return "bf16-mixed" if has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16") else "32-true"


def find_resume(config: Config) -> Resume | None:
    """Find the checkpoint that `resume` names: a path, or "last" for this run folder's or else the newest run's.

    Raises:
        ConfigError: there is none, or it was trained with other settings.
        CheckpointError: the file is no checkpoint.
    """
    if config.resume is None:
        return None
    path = _newest(Path(config.output_dir)) if config.resume == "last" else expand(config.resume)
    content = read_checkpoint(path)
    if "loops" not in content:
        raise CheckpointError(f"checkpoint '{path}': holds weights only, so training cannot continue from it")
    for setting, now, then in (
        ("model", config.model, content[KEY]["model"]),
        ("data.size", config.data.size, content[KEY]["size"]),
        ("trainer.max_steps", config.trainer.max_steps, content["hyper_parameters"]["total_steps"]),
    ):
        if now != then:
            raise ConfigError(f"{setting} is {now}, but '{path}' was trained with {then}: resume with the same")
    return Resume(path, int(content["global_step"]))


def _newest(run: Path) -> Path:
    own = run / CHECKPOINTS / "last.ckpt"
    if own.is_file():
        return own
    found = list(run.parent.glob(f"*/{CHECKPOINTS}/last.ckpt"))
    if not found:
        raise ConfigError(f"resume is 'last', but no run in {run.parent} has a checkpoint: give its path, or leave it")
    return max(found, key=lambda path: path.stat().st_mtime)


def write_summary(config: Config, log: RunLog) -> dict[str, Any]:
    """Write the run's final scores to `metrics.json` and return them."""
    rows = [log.rows[step] for step in sorted(log.rows)]
    steps = int(max((row["step"] for row in rows), default=0))
    late = [r["train/loss"] for r in rows if "train/loss" in r and r["step"] > steps - TRAIN_LOSS_STEPS]
    summary: dict[str, Any] = {
        "model": config.model,
        "seed": config.seed,
        "steps": steps,
        "seconds": rows[-1]["seconds"] if rows else 0.0,
        "train": {"loss": sum(late) / len(late) if late else None},
    }
    validated = [row for row in rows if config.callbacks.monitor in row]
    if validated:
        best = (max if config.callbacks.mode == "max" else min)(validated, key=lambda r: r[config.callbacks.monitor])
        summary["val"] = {"best": nest_scores(best, "val"), "last": nest_scores(validated[-1], "val")}
    tested = [row for row in rows if "test/miou" in row]
    if tested:
        summary["test"] = nest_scores(tested[-1], "test")
    (Path(config.output_dir) / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary

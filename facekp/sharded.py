"""Parsing many files on several devices: Lightning starts a process for each, and each takes its share."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytorch_lightning as pl
import torch.distributed as dist
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, Dataset

from facekp.backends import is_onnx
from facekp.errors import ConfigError, DataError
from facekp.parser import Align, FaceParser
from facekp.pipeline import LOOK_AHEAD, Job, Opened, Outcome, finish_image, in_batches, open_image, run_batch
from facekp.prediction import PredictConfig


def parse_files_sharded(config: PredictConfig, jobs: Sequence[Job], devices: int) -> tuple[Outcome, bool]:
    """Parse every image once, on several GPUs or CPU processes, each of which writes what it parsed.

    Args:
        config: what parses, and how.
        jobs: what is parsed, the same on all processes.
        devices: how many share them, at most as many as there are jobs.

    Returns:
        outcome: of all images, whichever process met them.
        tells: whether this is the process that speaks for all.

    Raises:
        ConfigError: more devices than there are, or a device given by its number.
    """
    if config.device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device is '{config.device}' and devices is {devices}: take device=cuda or cpu")
    share = _Share(config, jobs)
    try:
        trainer = pl.Trainer(
            accelerator="cpu" if is_onnx(config.ckpt) else {"cuda": "gpu"}.get(config.device, config.device),
            devices=devices,
            strategy="ddp",
            use_distributed_sampler=False,  # it would repeat images until all processes have as many
            callbacks=[_Writer(overlay=config.overlay)],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"devices is {devices}, which cannot be had ({error}): take fewer") from error
    trainer.predict(share, return_predictions=False)
    return share.outcome, trainer.is_global_zero


class _Share(pl.LightningModule):
    """The images of one process: every n-th, from its own rank on."""

    def __init__(self, config: PredictConfig, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.config = config
        self.jobs = jobs
        self.align = cast(Align, config.align)
        self.outcome = Outcome()

    def setup(self, stage: str) -> None:
        """Load the network on this process's own device."""
        c = self.config
        self.parser = FaceParser.from_checkpoint(c.ckpt, str(self.device), c.backend, c.keypoints, c.detector)

    def predict_dataloader(self) -> "DataLoader[Any]":
        """Return this process's images, read in other processes while the network runs."""
        own = self.jobs[self.global_rank :: self.trainer.world_size]
        # By keyword: Lightning makes the loader anew from its arguments.
        return DataLoader(
            dataset=_Photos(self.parser, own, self.align),
            batch_size=self.parser.backend.batch,
            collate_fn=list,
            num_workers=1,
        )

    def predict_step(self, batch: list[Opened | DataError]) -> list[Opened]:
        """Return a batch's images with the scores of their faces."""
        for one in batch:
            if isinstance(one, DataError):
                self.outcome.skip(one)
        readable = [one for one in batch if isinstance(one, Opened)]
        return [one for alike in in_batches(readable, len(batch)) for one in run_batch(self.parser, alike, self.align)]

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Leave pixels where they are: the backend takes them to its device."""
        return batch

    def on_predict_end(self) -> None:
        """Tell all processes what any of them met."""
        everyones = [Outcome()] * self.trainer.world_size
        dist.all_gather_object(everyones, self.outcome)
        skipped = [reason for own in everyones for reason in own.skipped]
        self.outcome = Outcome(skipped, [path for own in everyones for path in own.faceless])


class _Photos(Dataset[Opened | DataError]):
    def __init__(self, parser: FaceParser, jobs: Sequence[Job], align: Align) -> None:
        self.parser = parser
        self.jobs = jobs
        self.align = align

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Opened | DataError:
        return open_image(self.parser, self.jobs[index], self.align)


class _Writer(BasePredictionWriter):
    """Trace and write while the network goes on; a few images at a time, so that memory does not grow."""

    def __init__(self, *, overlay: bool) -> None:
        super().__init__(write_interval="batch")
        self.overlay = overlay
        self.pool = ThreadPoolExecutor(LOOK_AHEAD)
        self.pending: list[Future[Opened]] = []

    def write_on_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, prediction: list[Opened], *_: Any
    ) -> None:
        """Hand a batch's images to the writing threads."""
        share = cast(_Share, pl_module)
        for parsed in prediction:
            while len(self.pending) > LOOK_AHEAD:
                self.pending.pop(0).result()
            share.outcome.note(parsed)
            self.pending.append(self.pool.submit(finish_image, share.parser, parsed, overlay=self.overlay))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the last."""
        for future in self.pending:
            future.result()
        self.pool.shutdown()

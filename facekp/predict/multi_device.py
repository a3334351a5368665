"""Parsing many files on several devices: Lightning starts a process for each, and each takes its share."""

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytorch_lightning as pl
import torch.distributed as dist
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, Dataset

from facekp.errors import ConfigError, DataError
from facekp.parsing.choices import Align, is_onnx
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import in_batches
from facekp.predict.pipeline import LOOK_AHEAD, Job, OpenedPhoto, finish_image, open_image, shape_of, with_scenes
from facekp.predict.results import Results
from facekp.predict.sources import PredictConfig


def parse_files_sharded(
    config: PredictConfig, jobs: Sequence[Job], devices: int, results: Results
) -> tuple[list[str], bool]:
    """Parse every image once, on several GPUs or CPU processes, each of which writes what it parsed.

    Args:
        config: what parses, and how.
        jobs: what is parsed, the same on all processes.
        devices: how many share them, at most as many as there are jobs.
        results: what writes the faces, with the same settings on all processes.

    Returns:
        failures: one message for each image that was skipped, whichever process met it.
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
            callbacks=[_Writer(results)],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"devices is {devices}, which cannot be had ({error}): take fewer") from error
    trainer.predict(share, return_predictions=False)
    return share.failures, trainer.is_global_zero


class _Share(pl.LightningModule):
    """The images of one process: every n-th, from its own rank on."""

    def __init__(self, config: PredictConfig, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.config = config
        self.jobs = jobs
        self.failures: list[str] = []

    def setup(self, stage: str) -> None:
        """Load the network on this process's own device."""
        c = self.config
        # Lightning moves the module, and says so in `self.device`, only after this.
        device = str(self.trainer.strategy.root_device)
        self.parser = FaceParser.from_checkpoint(
            c.ckpt, device=device, backend=c.backend, keypoints=c.keypoints, detector=c.detector
        )

    def predict_dataloader(self) -> "DataLoader[Any]":
        """Return this process's images, read in other processes while the network runs."""
        own = self.jobs[self.global_rank :: self.trainer.world_size]
        # By keyword: Lightning makes the loader anew from its arguments.
        return DataLoader(
            dataset=_Photos(self.parser, own, cast(Align, self.config.align)),
            batch_size=self.parser.stages.backend.batch,
            collate_fn=list,
            num_workers=1,
        )

    def predict_step(self, batch: list[OpenedPhoto | DataError]) -> list[OpenedPhoto]:
        """Return a batch's images with the scores of their faces."""
        for failure in (str(one) for one in batch if isinstance(one, DataError)):
            self.failures.append(failure)
            print(f"skipped: {failure}", file=sys.stderr)
        readable = [one for one in batch if isinstance(one, OpenedPhoto)]
        return [one for alike in in_batches(readable, len(batch), shape_of) for one in self._parse(alike)]

    def _parse(self, alike: list[OpenedPhoto]) -> list[OpenedPhoto]:
        return with_scenes(alike, self.parser.stages.parse([one.scene for one in alike]))

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Leave pixels where they are: the backend takes them to its device."""
        return batch

    def on_predict_end(self) -> None:
        """Tell all processes what any of them skipped."""
        everyones: list[list[str]] = [[]] * self.trainer.world_size
        dist.all_gather_object(everyones, self.failures)
        self.failures = [failure for own in everyones for failure in own]


class _Photos(Dataset[OpenedPhoto | DataError]):
    def __init__(self, parser: FaceParser, jobs: Sequence[Job], align: Align) -> None:
        self.parser = parser
        self.jobs = jobs
        self.align = align

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> OpenedPhoto | DataError:
        return open_image(self.parser, self.jobs[index], self.align)


class _Writer(BasePredictionWriter):
    """Trace and write while the network goes on; a few images at a time, so that memory does not grow."""

    def __init__(self, results: Results) -> None:
        super().__init__(write_interval="batch")
        self.results = results
        self.pool = ThreadPoolExecutor(LOOK_AHEAD)
        self.pending: list[Future[None]] = []

    def write_on_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, prediction: list[OpenedPhoto], *_: Any
    ) -> None:
        """Hand a batch's images to the writing threads."""
        parser = cast(_Share, pl_module).parser
        for photo in prediction:
            while len(self.pending) > LOOK_AHEAD:
                self.pending.pop(0).result()
            self.pending.append(self.pool.submit(finish_image, parser, photo, self.results))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the last."""
        for future in self.pending:
            future.result()
        self.pool.shutdown()

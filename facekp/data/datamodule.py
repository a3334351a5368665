"""The data set of a run as a LightningDataModule."""

import shutil
import sys
from collections.abc import Sequence
from functools import cached_property
from multiprocessing import set_forkserver_preload
from pathlib import Path

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from facekp.config import DataConfig
from facekp.data.audit.order import check_order
from facekp.data.balance import find_classes, repeat_factors
from facekp.data.cache import CHANNELS, decode_all
from facekp.data.class_sets import read_classes
from facekp.data.dataset import Batch, FaceDataset, Pixels, disable_opencv_threads, to_batch
from facekp.data.exclusions import describe_exclusions, read_exclusions
from facekp.data.layout import Sample, check_source, read_index
from facekp.data.sampler import Draw, TrainingStream, evaluation_draws
from facekp.data.sources import prepared_root
from facekp.data.transforms import evaluation_transform, training_transform
from facekp.errors import ConfigError, DataError, require
from facekp.files import expand
from facekp.hardware import GIB, MIB

SHARED = Path("/dev/shm")  # folder of the shared memory in which workers pass batches; Docker gives it 64 MB
STAGE_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ()}
"""Splits that each of Lightning's stages reads."""


class FaceDataModule(pl.LightningDataModule):
    """Training, validation and test loaders over a prepared, an official or a synthetic data set.

    The training loader is one long stream of `total_steps` batches (see `TrainingStream`), drawn from `seed`. It starts
    at the trainer's global step, so a resumed run continues it.

    Raises:
        DataError: the data set or `data.exclude` is missing or unusable; both are checked before any data is read.
    """

    def __init__(self, config: DataConfig, *, seed: int, total_steps: int) -> None:
        super().__init__()
        check_source(config)
        self.config = config
        self.excluded = read_exclusions(config.exclude)
        self.excluded_digest = describe_exclusions(self.excluded)
        self.seed, self.total_steps = seed, total_steps

    @cached_property
    def root(self) -> Path:
        """Folder of the prepared data set, drawn or prepared first if needed."""
        return prepared_root(self.config)

    @cached_property
    def samples(self) -> dict[str, list[Sample]]:
        """Samples by split, without the excluded training images, and with those of `data.more`.

        Raises:
            DataError: a data set is unusable.
            ConfigError: one of `data.more` has other classes.
        """
        samples = read_index(self.root, self.excluded)
        for root in map(expand, self.config.more):
            own, other = read_classes(self.root), read_classes(root)
            ok = own.names == other.names
            remedy = f"its classes are {', '.join(other.names)}, data.root's {', '.join(own.names)}: prepare it with "
            require("data.more", str(root), ok, f"{remedy}classes={self.root}")
            samples["train"] += read_index(root)["train"]
        return samples

    def split(self, name: str) -> list[Sample]:
        """Return the samples of "train", "val" or "test".

        Raises:
            DataError: the split is empty, or the data set is unusable.
        """
        if self.samples[name]:
            return self.samples[name]
        if name == "train" and self.excluded:
            raise DataError(f"data.exclude is '{self.config.exclude}', which excludes all training images; keep some")
        raise DataError(f"data.root is '{self.root}', whose index.csv has no '{name}' image; use another data set")

    def prepare_data(self) -> None:
        """Prepare or draw the data set and look at a few labels; Lightning calls this in one process only."""
        self.root = prepared_root(self.config)
        check_order(self.samples["train"])

    def setup(self, stage: str) -> None:
        """Check that the splits of a stage have images: a fit without validation images would save no checkpoint."""
        for name in STAGE_SPLITS[stage]:
            self.split(name)

    def on_after_batch_transfer(self, batch: Pixels, dataloader_idx: int) -> Batch:
        """Normalise a batch on the training device."""
        return to_batch(batch)

    def train_dataloader(self) -> DataLoader[Pixels]:
        """Return the rest of the training stream, in batches.

        Raises:
            ConfigError: `data.batch_size` is not a multiple of the number of processes.
        """
        c = self.config
        if c.decoded == "ram" and c.loader_workers:
            start_method(shared=True)  # refused here, before all images are decoded
        world = self.trainer.world_size if self.trainer else 1
        if c.batch_size % world:
            raise ConfigError(f"data.batch_size is {c.batch_size}: give a multiple of the {world} processes")
        samples, repeats = self.split("train"), None
        if c.balance != "none":
            repeats = repeat_factors(find_classes(samples, expand(c.cache)), c.balance, c.balance_below)
        step, rank = (self.trainer.global_step, self.trainer.global_rank) if self.trainer else (0, 0)
        stream = TrainingStream(
            len(samples), repeats=repeats, seed=self.seed, length=self.total_steps * c.batch_size,
            global_batch=c.batch_size, start=step * c.batch_size, rank=rank, world_size=world,
        )  # fmt: skip
        transform = training_transform(
            c.size, c.crop, scales=c.scales, jitter=c.jitter, flip=c.flip, rotate=c.rotate, background=c.background,
            occlude=c.occlude, corrupt=c.corrupt, classes=samples[0].classes,
        )  # fmt: skip
        dataset = FaceDataset(samples, transform, decode_all(samples, c))
        loader = self._loader(dataset, stream, c.batch_size // world)
        scored = max("val", "test", key=lambda split: len(self.samples[split]))  # the one during the run, one after it
        waiting = [(loader, c.crop), (self.evaluation_loader(scored), c.size)]
        require_shared_memory(waiting, self.trainer.num_devices if self.trainer else 1)
        return loader

    def val_dataloader(self) -> DataLoader[Pixels]:
        """Return the validation images, uncropped."""
        return self.evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Pixels]:
        """Return the test images, uncropped."""
        return self.evaluation_loader("test")

    def evaluation_loader(self, split: str, images: int | None = None) -> DataLoader[Pixels]:
        """Return the uncropped images of a split, each once, or up to `images` of them, evenly spaced."""
        samples = self.split(split)
        if images is not None and images < len(samples):
            samples = [samples[i * len(samples) // images] for i in range(images)]
        dataset = FaceDataset(samples, evaluation_transform(self.config.size))
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        loader = self._loader(dataset, evaluation_draws(len(samples), rank, world), self.config.eval_batch_size)
        if not self.trainer:  # which has checked both of its loaders before the first step
            require_shared_memory([(loader, self.config.size)])
        return loader

    def _loader(
        self, dataset: FaceDataset, sampler: TrainingStream | list[Draw], batch_size: int
    ) -> DataLoader[Pixels]:
        workers = self.config.loader_workers
        shared = dataset.decoded is not None and self.config.decoded == "ram"
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            multiprocessing_context=start_method(shared=shared) if workers else None,
            worker_init_fn=disable_opencv_threads,
            persistent_workers=workers > 0 and isinstance(sampler, TrainingStream),
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )


def start_method(*, shared: bool = False) -> str | None:
    """Return how a loader's workers are to be started; None for Python's default.

    Only forked workers can have memory that is `shared` with this process.

    Raises:
        ConfigError: they would have to be forked, and cannot be.
    """
    if sys.platform != "linux":  # forking is unsafe or impossible
        if shared:
            raise ConfigError("data.decoded is 'ram', which workers share on Linux only: use disk, or data.workers=0")
        return None
    if "openvino" not in sys.modules:
        return "fork" if shared else None
    # OpenVINO's threads, and what it sets in the processor (AMX tiles), do not survive a fork.
    if shared:
        raise ConfigError(
            "data.decoded is 'ram', which forked workers share, but this process has loaded OpenVINO, whose forks "
            "crash: use disk or data.workers=0, or train in another process"
        )
    # Imported once, not by each worker: all that one needs, which is not Lightning.
    set_forkserver_preload([FaceDataset.__module__, evaluation_transform.__module__])
    return "forkserver"


def require_shared_memory(loaders: Sequence[tuple[DataLoader[Pixels], int]], processes: int = 1) -> None:
    """Check that the batches that loaders hold ready, each of images of a given side, fit in the shared memory.

    Raises:
        ConfigError: they do not; a worker would be killed in the middle of the run.
    """
    need = 0
    for loader, side in loaders:
        ready = loader.num_workers and min(len(loader), loader.num_workers * (loader.prefetch_factor or 0) + 1)
        need += processes * ready * (loader.batch_size or 1) * side**2 * CHANNELS
    if SHARED.is_dir() and need > (free := shutil.disk_usage(SHARED).free):
        raise ConfigError(
            f"data.workers is {loaders[0][0].num_workers}: their batches take {need / MIB:.0f} MiB of shared memory, "
            f"but {SHARED} has {free / MIB:.0f}: give a container more (docker run --shm-size={-(-need // GIB)}g), or "
            "use fewer (data.workers=0 needs none)"
        )

"""`gpu/*`: training steps of every network in each precision, their shares, the loader, and parsing in batches."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from benchmarks.harness import Bench, Row, alternate, make_row, peak_memory, timed
from benchmarks.loss import SortOhem, draw_labels
from benchmarks.networks import OURS, build
from facekp.classes import IGNORE_INDEX
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.synthetic.write import draw_face
from facekp.errors import ConfigError
from facekp.losses import DeepSupervision, OhemCrossEntropy
from facekp.losses.ohem_dice import OhemDice
from facekp.parsing.backends import TorchBackend
from facekp.parsing.parser import FaceParser
from facekp.training.optim.build import build_optimizer

LOSSES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": OhemCrossEntropy,
    OURS: OhemDice,
    "bisenet": SortOhem,
    "smp_unet": partial(nn.CrossEntropyLoss, ignore_index=IGNORE_INDEX),
    "residual_attention": OhemCrossEntropy,
    "fpn": OhemCrossEntropy,
}
"""Loss of each network. BiSeNet and smp.Unet are the peers, with the losses of theirs."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
STEPS, WARM_UP = 10, 5
PARTS = ("forward", "loss", "backward", "optimiser")


@dataclass(frozen=True)
class Way:
    """A way to train a network: the precision of autocast ("float32": none), memory format, and torch.compile."""

    network: str
    dtype: str = "float16"
    channels_last: bool = True
    compiled: bool = False

    def __str__(self) -> str:
        """Return the end of the row's name."""
        return f"{self.network}/{self.dtype}" + "/nchw" * (not self.channels_last) + "/compiled" * self.compiled


class Step:
    """A training step as `FaceParsing` takes it, on random images and the labels of drawn faces.

    Args:
        way: how to train.
        bench: batch, size and device.
        labels: (N, H, W) int64.
    """

    def __init__(self, way: Way, bench: Bench, labels: Tensor) -> None:
        self.way, self.device = way, bench.device
        self.format = torch.channels_last if way.channels_last else torch.contiguous_format
        self.net = build(way.network)
        self.net.to(bench.device, memory_format=self.format).train()  # type: ignore[call-overload]  # not in the stub
        self.criterion = DeepSupervision(LOSSES[way.network](), self.net.head_names)
        self.optimiser, _ = build_optimizer(self.net, {"warmup_steps": 0}, total_steps=1)
        self.scaler = torch.amp.GradScaler(bench.device.type, enabled=way.dtype == "float16" and self.cuda)
        if way.compiled:
            self.net.compile()
        shape = (bench.batch, 3, bench.size, bench.size)
        self.images = torch.randn(shape, device=bench.device).contiguous(memory_format=self.format)
        self.labels = labels.to(bench.device)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def __call__(self, mark: Callable[[], object] = lambda: None) -> None:
        """Take a step, and call `mark` before each of the `PARTS` and after the last."""
        mark()
        low = DTYPES.get(self.way.dtype)
        with torch.autocast(self.device.type, low) if low else nullcontext():
            heads = self.net(self.images)
            mark()
            loss = self.criterion(heads, self.labels)["loss"]
        mark()
        torch.autograd.backward(self.scaler.scale(loss))
        mark()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        mark()

    def several(self, steps: int) -> None:
        """Take some steps."""
        for _ in range(steps):
            self()

    def shares(self, steps: int) -> dict[str, float]:
        """Return the shares of a step's time on the device that its parts take, the device's waits included."""
        times = np.zeros(len(PARTS))
        for _ in range(steps):
            events: list[torch.cuda.Event] = []

            def mark(events: list[torch.cuda.Event] = events) -> None:
                events.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
                events[-1].record()

            self(mark)
            events[-1].synchronize()
            times += [start.elapsed_time(end) for start, end in pairwise(events)]
        return dict(zip(PARTS, times / times.sum(), strict=True))

    def busy(self, steps: int) -> float:
        """Return the share of the time in which the GPU computes: its kernels' time against the time without profiler.

        The profiler slows the process that launches the kernels, but not the kernels.
        """
        wall = timed(partial(self.several, steps), self.device)
        with profile(activities=[ProfilerActivity.CUDA]) as record:
            self.several(steps)
            torch.cuda.synchronize(self.device)
        return sum(event.self_device_time_total for event in record.key_averages()) / 1e6 / wall


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `gpu/train/NETWORK/PRECISION`, then `gpu/network`, `gpu/parse` and, with a data set, `gpu/loader`."""
    cuda = bench.device.type == "cuda"
    labels = draw_labels(bench.batch, bench.size)
    ways = [Way(name) for name in LOSSES]
    ways += [Way(name, "bfloat16") for name in LOSSES]
    ways += [replace(Way(name), channels_last=False) for name in ("resnet18", OURS)]
    ways += [Way(name, "float32") for name in ("resnet18", "bisenet", OURS)]
    ways += [Way(name, compiled=True) for name in ("resnet18", OURS) if bench.compile]
    if not cuda:
        ways = [Way(name, "float32") for name in ("resnet18", OURS)]
    for i, way in enumerate(ways):
        if i == len(LOSSES):  # the default precision first, then what else a limited time may not reach
            yield from parse_rows(bench)
        try:
            yield train_row(way, bench, labels)
        except (ConfigError, RuntimeError) as error:
            print(f"gpu/train/{way}: left out, {str(error).splitlines()[0]}", file=sys.stderr)
    if not cuda:
        yield from parse_rows(bench)
    if bench.root:
        yield loader_row(bench)


def train_row(way: Way, bench: Bench, labels: Tensor) -> Row:
    """Return images per second; the note has the shares of the step's parts and of the time that the GPU computes."""
    step, steps = Step(way, bench, labels), 2 if bench.quick else STEPS
    step.several(1 if bench.quick else WARM_UP)
    (seconds,) = alternate([partial(step.several, steps)], bench)
    note = f"{bench.batch} x {bench.size} x {bench.size}"
    if step.cuda:
        parts = ", ".join(f"{part} {share:.1%}" for part, share in step.shares(steps).items())
        note += f"; {parts}; GPU busy {step.busy(steps):.1%}"
    memory = {"ours": peak_memory(lambda: step, bench.device)} if step.cuda else None
    rates = [steps * bench.batch / s for s in seconds]
    return make_row(f"gpu/train/{way}", "images/s", [rates], memory=memory, note=note)


def parse_rows(bench: Bench) -> Iterator[Row]:
    """Yield `gpu/network`, the shipped network from pixels to scores in memory, and `gpu/parse`, masks and key points.

    Milliseconds a photo, in batches; the photos are drawn faces, and the weights the shipped ones.
    """
    parser = FaceParser.from_checkpoint(device=bench.device.type, detector=lambda image: [])  # which is not used
    backend = parser.stages.backend
    photos = [draw_face(seed, backend.size).image for seed in range(4 if bench.quick else 64)]
    batches = [np.stack(photos[i : i + backend.batch]) for i in range(0, len(photos), backend.batch)]
    whole = {"network": lambda: [backend(batch) for batch in batches], "parse": lambda: parser(photos, align="none")}
    for name, call in whole.items():
        times = alternate([call], bench, scale=1000 / len(photos))
        precision = backend.precision if isinstance(backend, TorchBackend) else ""
        yield make_row(f"gpu/{name}", "ms", times, note=f"{len(photos)} photos of {backend.size} pixels, {precision}")


def loader_row(bench: Bench) -> Row:
    """Return the images per second that the training loader of the last release gives, without training."""
    config = DataConfig(root=bench.root, scales=[0.75, 0.875, 1, 1.125], occlude=0.15, corrupt=0.1)
    batches = 4 if bench.quick else 200
    data = FaceDataModule(config, seed=0, total_steps=10 * batches)
    loader: DataLoader[Any] = data.train_dataloader()
    stream = iter(loader)
    list(islice(stream, batches // 2))  # the workers start
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        list(islice(stream, batches))
        rates.append(batches * config.batch_size / (time.perf_counter() - start))
    note = f"{config.loader_workers} workers, crops of {config.crop} pixels as in docs/results/recipe.md"
    return make_row("gpu/loader", "images/s", [rates], note=note)

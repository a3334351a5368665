"""`step/*`: a whole training step, from images in memory to updated weights, for our network and others."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from benchmarks.harness import OURS, Bench, Call, Row, alternate, build, least_seconds, make_row, peak_memory
from benchmarks.loss import SortOhem, draw_labels
from facekp.classes import IGNORE_INDEX
from facekp.errors import ConfigError
from facekp.losses import DeepSupervision, OhemCrossEntropy
from facekp.losses.ohem_dice import OhemDice
from facekp.training.optim.build import build_optimizer

LOSSES: dict[str, Callable[[], nn.Module]] = {
    OURS: OhemDice,
    "bisenet": SortOhem,
    "smp_unet": partial(nn.CrossEntropyLoss, ignore_index=IGNORE_INDEX),
}
"""Loss of each network, if not OHEM. BiSeNet and smp.Unet are the peers, with the losses of theirs."""
TITLES = {
    OURS: "the shipped network with OHEM and Dice",
    "bisenet": "BiSeNet-ResNet18 with sort-based OHEM",
    "smp_unet": "smp.Unet-ResNet18 with cross entropy",
}
PEERS = ("bisenet", "smp_unet")
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}  # types of autocast; in "float32" there is none


@dataclass(frozen=True)
class Way:
    """A way to train a network."""

    network: str
    dtype: str = "float32"
    optimiser: str = "fused"
    channels_last: bool = True
    compiled: str = ""  # mode of torch.compile; empty: not compiled

    def __str__(self) -> str:
        return f"{TITLES[self.network]} in {self.dtype}, {self.optimiser} SGD"


class Step:
    """A training step as `FaceParsing` takes it, on random images and the labels of drawn faces."""

    def __init__(self, way: Way, batch: int, size: int, device: torch.device) -> None:
        self.way, self.device = way, device
        memory = torch.channels_last if way.channels_last else torch.contiguous_format
        self.net = build(way.network)
        self.net.to(device, memory_format=memory).train()  # type: ignore[call-overload]  # not in torch's stub
        self.criterion = DeepSupervision(LOSSES.get(way.network, OhemCrossEntropy)(), self.net.head_names)
        self.optimiser: Optimizer
        if way.network in PEERS:
            self.optimiser = SGD(self.net.parameters(), 1e-2, 0.9, weight_decay=5e-4, **{way.optimiser: True})
        else:
            self.optimiser, _ = build_optimizer(self.net, {"head_lr_mult": 1.0, "warmup_steps": 0}, total_steps=1)
        self.scaler = torch.amp.GradScaler(device.type, enabled=way.dtype == "float16")
        if way.compiled:
            self.net.compile(mode=way.compiled)
        self.images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=memory)
        self.labels = draw_labels(batch, size).to(device)

    def __call__(self, mark: Callable[[], object] = lambda: None) -> Tensor:
        """Take a step and return its loss; `mark` is called before forward, loss, backward and optimiser, and after."""
        mark()
        low = DTYPES.get(self.way.dtype)
        with torch.autocast(self.device.type, low) if low else nullcontext():
            heads = self.net(self.images)
            mark()
            loss: Tensor = self.criterion(heads, self.labels)["loss"]
        mark()
        torch.autograd.backward(self.scaler.scale(loss))
        mark()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        mark()
        return loss


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `step/bisenet` and `step/smp_unet`, and `step/compile` if requested."""

    def prepared(way: Way) -> Callable[[], Call]:
        return partial(Step, way, bench.batch, bench.size, bench.device)

    way = fastest(OURS, bench)
    # MiB that a first step takes in addition to network and images, including gradients and momentum.
    ours, memory = prepared(way)(), peak_memory(prepared(way), bench.device)
    passes = 3 * bench.batch  # a backward pass costs two forward ones
    limit = {"convolution": passes * least_seconds(OURS, bench.size, bench.rates.convolution[way.dtype])}
    for name in PEERS:
        try:
            other = fastest(name, bench)
        except ConfigError as error:
            print(f"step/{name}: left out, {error}", file=sys.stderr)
            continue
        runs = alternate([ours, prepared(other)()], bench)
        both = {"ours": memory, "peer": peak_memory(prepared(other), bench.device)}
        note = f"{way}; {other}; {bench.batch} x {bench.size} x {bench.size}, channels last"
        yield make_row(f"step/{name}", "s", runs, peer_name=TITLES[name], memory=both, limit=limit, note=note)
    if bench.compile:
        runs = alternate([prepared(replace(way, compiled="default"))(), ours], bench)
        yield make_row("step/compile", "s", runs, peer_name="ours, not compiled", limit=limit, note=str(way))


def fastest(network: str, bench: Bench) -> Way:
    """Return the fastest way to run a network's step, after two runs of each."""
    optimisers = ("fused", "foreach") if network in PEERS else ("fused",)  # facekp's SGD is fused
    ways = [Way(network, *choice) for choice in product(bench.dtypes, optimisers)]

    def seconds(way: Way) -> float:
        (runs,) = alternate([Step(way, bench.batch, bench.size, bench.device)], bench, repeats=2)
        return min(runs)

    return ways[0] if len(ways) == 1 else min(ways, key=seconds)

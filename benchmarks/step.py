"""`step/*`: a whole training step, from images in memory to updated weights, for our network and others."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from benchmarks.harness import Bench, Call, DType, Row, alternate, least_seconds, make_row, peak_memory
from benchmarks.loss import SortOhem
from benchmarks.networks import OURS, build
from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.errors import ConfigError
from facekp.losses.ohem_dice import OhemDice
from facekp.training.optim.build import build_optimizer

NETWORKS: dict[str, tuple[str, nn.Module]] = {
    OURS: ("the shipped network with OHEM and Dice", OhemDice()),
    "bisenet": ("BiSeNet-ResNet18 with sort-based OHEM", SortOhem()),
    "smp_unet": ("smp.Unet-ResNet18 with cross entropy", nn.CrossEntropyLoss(ignore_index=IGNORE_INDEX)),
}
"""Title and loss of each network; its heads' losses are summed."""


@dataclass(frozen=True)
class Way:
    """A way to run a network's step; the fastest counts."""

    network: str
    dtype: DType = "float32"
    optimiser: str = "fused"
    compiled: bool = False

    def __str__(self) -> str:
        """Describe the way in words."""
        return f"{NETWORKS[self.network][0]} in {self.dtype}, {self.optimiser} SGD"


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `step/bisenet` and `step/smp_unet`, and `step/compile` if requested."""

    def prepared(way: Way) -> Callable[[], Call]:
        return partial(prepare, way, bench.batch, bench.size, bench.device)

    way = fastest(OURS, bench)
    # MiB that a first step takes in addition to network and images, including gradients and momentum.
    ours, memory = prepared(way)(), peak_memory(prepared(way), bench.device)
    passes = 3 * bench.batch  # a backward pass costs two forward ones
    limit = {"convolution": passes * least_seconds(OURS, bench.size, bench.rates.convolution[way.dtype])}
    for name in ("bisenet", "smp_unet"):
        try:
            other = fastest(name, bench)
        except ConfigError as error:
            print(f"step/{name}: left out, {error}", file=sys.stderr)
            continue
        runs = alternate([ours, prepared(other)()], bench)
        both = {"ours": memory, "peer": peak_memory(prepared(other), bench.device)}
        note = f"{way}; {other}; {bench.batch} x {bench.size} x {bench.size}, channels last"
        yield make_row(f"step/{name}", "s", runs, peer_name=NETWORKS[name][0], memory=both, limit=limit, note=note)
    if bench.compile:
        runs = alternate([prepared(replace(way, compiled=True))(), ours], bench)
        yield make_row("step/compile", "s", runs, peer_name="ours, not compiled", limit=limit, note=str(way))


def fastest(network: str, bench: Bench) -> Way:
    """Return the fastest way to run a network's step, after two runs of each."""
    optimisers = ("fused",) if network == OURS else ("fused", "foreach")  # facekp's SGD is fused
    ways = [Way(network, *choice) for choice in product(bench.dtypes, optimisers)]

    def seconds(way: Way) -> float:
        (runs,) = alternate([prepare(way, bench.batch, bench.size, bench.device)], bench, repeats=2)
        return min(runs)

    return ways[0] if len(ways) == 1 else min(ways, key=seconds)


def prepare(way: Way, batch: int, size: int, device: torch.device) -> Call:
    """Return a call that takes one training step on random images and labels."""
    _, criterion = NETWORKS[way.network]
    net = build(way.network)
    net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # not in torch's stub
    optimiser: Optimizer
    if way.network == OURS:
        optimiser, _ = build_optimizer(net, {"head_lr_mult": 1.0, "warmup_steps": 0}, total_steps=1)
    else:
        optimiser = SGD(net.parameters(), 1e-2, 0.9, weight_decay=5e-4, **{way.optimiser: True})
    if way.compiled:
        net.compile()
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(len(CELEBAMASK_HQ), (batch, size, size), device=device)

    def call() -> object:
        with torch.autocast(device.type, torch.bfloat16) if way.dtype == "bfloat16" else nullcontext():
            loss = torch.stack([criterion(scores, labels) for scores in net(images).maps]).sum()
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return call

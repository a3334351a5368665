"""`step/*`: a whole training step, from images in memory to updated weights, of ours and of other networks."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
from torch import nn
from torch.optim import SGD

from benchmarks.harness import Bench, Call, DType, Row, alternate, make_row, peak_memory
from benchmarks.loss import SortOhem
from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.errors import ConfigError
from facekp.losses import OhemCrossEntropy
from facekp.models import build_model
from facekp.models.cost import multiply_adds
from facekp.training.optim.build import build_optimizer

LR, MOMENTUM, WEIGHT_DECAY = 1e-2, 0.9, 5e-4
NETWORKS: dict[str, tuple[str, str, nn.Module]] = {
    "resnet18": ("ours", "resnet18", OhemCrossEntropy()),
    "bisenet": ("BiSeNet-ResNet18 with sort-based OHEM", "bisenet", SortOhem()),
    "smp_unet": ("smp.Unet-ResNet18 with cross entropy", "smp", nn.CrossEntropyLoss(ignore_index=IGNORE_INDEX)),
}
"""Title, model and loss of each; the losses of a network's heads are added."""


@dataclass(frozen=True)
class Way:
    """One way to run a network's step; the fastest counts."""

    network: str
    dtype: DType = "float32"
    optimiser: str = "fused"
    compiled: bool = False

    def __str__(self) -> str:
        """Describe the way in words."""
        return f"{NETWORKS[self.network][0]} in {self.dtype}, {self.optimiser} SGD"


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `step/bisenet` and `step/smp_unet`, and `step/compile` where it is asked for."""
    way = fastest("resnet18", bench)
    ours, memory = prepare(way, bench.batch, bench.size, bench.device), _memory(way, bench)
    with torch.device("meta"):
        flops = 2 * multiply_adds(build_model("resnet18"), bench.size) * bench.batch
    limit = {"convolution": 3 * flops / bench.rates.convolution[way.dtype] / 1e9}  # a backward pass is two forward ones
    for name in ("bisenet", "smp_unet"):
        try:
            other = fastest(name, bench)
        except ConfigError as error:
            print(f"step/{name}: left out, {error}", file=sys.stderr)
            continue
        runs = alternate([ours, prepare(other, bench.batch, bench.size, bench.device)], bench)
        about = {"peer_name": NETWORKS[name][0], "memory": {"ours": memory, "peer": _memory(other, bench)}}
        note = f"{way}; {other}; {bench.batch} x {bench.size} x {bench.size}, channels last"
        yield make_row(f"step/{name}", "s", runs, **about, limit=limit, note=note)
    if bench.compile:
        compiled = prepare(replace(way, compiled=True), bench.batch, bench.size, bench.device)
        runs = alternate([compiled, ours], bench)
        yield make_row("step/compile", "s", runs, peer_name="ours, not compiled", limit=limit, note=str(way))


def fastest(network: str, bench: Bench) -> Way:
    """Return the fastest way to run a network's step, after two runs of each."""
    ways = [Way(network, *choice) for choice in product(bench.dtypes, ("fused", "foreach"))]
    ways = [way for way in ways if network != "resnet18" or way.optimiser == "fused"]  # facekp builds fused SGD

    def seconds(way: Way) -> float:
        (runs,) = alternate([prepare(way, bench.batch, bench.size, bench.device)], bench, repeats=2)
        return min(runs)

    return min(ways, key=seconds)


def prepare(way: Way, batch: int, size: int, device: torch.device) -> Call:
    """Return a call that takes one training step on random images and labels.

    Raises:
        ConfigError: a network that is not installed.
    """
    _, model, criterion = NETWORKS[way.network]
    net = build_model(model)
    net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # not in torch's stub
    fused = way.optimiser == "fused"
    if way.network == "resnet18":
        optimiser, _ = build_optimizer(net, {"head_lr_mult": 1.0, "warmup_steps": 0}, total_steps=1)
    else:
        optimiser = SGD(net.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=fused, foreach=not fused)
    if way.compiled:
        net.compile()
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(NUM_CLASSES, (batch, size, size), device=device)

    def call() -> object:
        with torch.autocast(device.type, torch.bfloat16) if way.dtype == "bfloat16" else nullcontext():
            loss = torch.stack([criterion(scores, labels) for scores in net(images).maps]).sum()
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return call


def _memory(way: Way, bench: Bench) -> float:
    """Return the MiB that a first step takes beyond network and images; gradients and momentum count."""
    return peak_memory(partial(prepare, way, bench.batch, bench.size, bench.device), bench.device)

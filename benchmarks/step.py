"""`step/*`: a whole training step, from images in memory to changed weights, of ours and of other networks."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from benchmarks.harness import Bench, DType, Row, alternate, make_row
from benchmarks.limits import least_seconds
from benchmarks.memory import peak_memory
from benchmarks.peers import PeerMissingError, SortOhem, bisenet, smp_unet
from benchmarks.timing import Call
from facekp.classes import IGNORE_INDEX, NUM_CLASSES
from facekp.losses.ohem import OhemCrossEntropy
from facekp.models import build_model
from facekp.models.cost import multiply_adds
from facekp.training.optim.build import parameter_groups
from facekp.training.optim.sgd import sgd

LR, MOMENTUM, WEIGHT_DECAY = 1e-2, 0.9, 5e-4
TRIALS = 2
"""Timed runs of each way to run a network, before the fastest way is measured."""

Implementation = Literal["fused", "foreach"]


@dataclass(frozen=True)
class Contender:
    """A network, its loss from (the network's output, labels), and the ways its optimiser is tried."""

    title: str
    build: Callable[[], nn.Module]
    loss: Callable[[Any, Tensor], Tensor]
    optimisers: tuple[Implementation, ...] = ("fused", "foreach")


@dataclass(frozen=True)
class Way:
    """One way to run a contender's step; the fastest counts."""

    contender: str
    dtype: DType = "float32"
    optimiser: Implementation = "fused"
    compiled: bool = False

    def __str__(self) -> str:
        """Say it in words."""
        how = f"{CONTENDERS[self.contender].title} in {self.dtype}, {self.optimiser} SGD"
        return f"{how}, compiled" if self.compiled else how


def _sum_over_heads(criterion: nn.Module) -> Callable[[Any, Tensor], Tensor]:
    def loss(scores: Any, labels: Tensor) -> Tensor:
        return torch.stack([criterion(head, labels) for head in scores.maps]).sum()

    return loss


CONTENDERS = {
    "resnet18": Contender("ours", partial(build_model, "resnet18"), _sum_over_heads(OhemCrossEntropy()), ("fused",)),
    "bisenet": Contender("BiSeNet-ResNet18 with sort-based OHEM", bisenet, _sum_over_heads(SortOhem())),
    "smp_unet": Contender(
        "smp.Unet-ResNet18 with cross entropy", smp_unet, partial(F.cross_entropy, ignore_index=IGNORE_INDEX)
    ),
}


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `step/bisenet` and `step/smp_unet`, and `step/compile` where it is asked for."""
    way = fastest("resnet18", bench)
    ours, memory = prepare(way, bench.batch, bench.size, bench.device), _memory(way, bench)
    limit = _limit(way, bench)
    for name in ("bisenet", "smp_unet"):
        case, title = f"step/{name}", CONTENDERS[name].title
        try:
            other = fastest(name, bench)
        except PeerMissingError as missing:
            alone = alternate(ours, None, bench)
            yield make_row(
                case, "s", *alone, peer_name=title, memory={"ours": memory}, limit=limit, note=f"{way}; {missing}"
            )
            continue
        theirs = prepare(other, bench.batch, bench.size, bench.device)
        yield make_row(
            case,
            "s",
            *alternate(ours, theirs, bench),
            peer_name=title,
            memory={"ours": memory, "peer": _memory(other, bench)},
            limit=limit,
            note=f"{way}; {other}; {bench.batch} x {bench.size} x {bench.size}, channels last",
        )
    if bench.compile:
        compiled = prepare(replace(way, compiled=True), bench.batch, bench.size, bench.device)
        runs = alternate(compiled, ours, bench)
        yield make_row("step/compile", "s", *runs, peer_name="ours, not compiled", limit=limit, note=str(way))


def fastest(contender: str, bench: Bench) -> Way:
    """Return the fastest way to run a contender's step, after a few runs of each.

    Raises:
        PeerMissingError: it is not installed.
    """
    ways = [Way(contender, *choice) for choice in product(bench.dtypes, CONTENDERS[contender].optimisers)]

    def seconds(way: Way) -> float:
        call = prepare(way, bench.batch, bench.size, bench.device)
        return min(alternate(call, None, bench, repeats=TRIALS)[0])

    return min(ways, key=seconds)


def prepare(way: Way, batch: int, size: int, device: torch.device) -> Call:
    """Return a call that takes one training step on random images and labels.

    Raises:
        PeerMissingError: a network that is not installed.
    """
    contender = CONTENDERS[way.contender]
    net = contender.build().to(device).to(memory_format=torch.channels_last).train()
    optimiser = _optimiser(way, net)
    if way.compiled:
        net.compile()
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(NUM_CLASSES, (batch, size, size), device=device)

    def call() -> None:
        with autocast(way.dtype, device):
            loss = contender.loss(net(images), labels)
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad()

    return call


def autocast(dtype: DType, device: torch.device) -> Any:
    """Return the context in which a network computes in `dtype`."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def _optimiser(way: Way, net: nn.Module) -> SGD:
    if way.contender == "resnet18":
        groups = parameter_groups(net, ("heads",), lr=LR, weight_decay=WEIGHT_DECAY, head_lr_mult=1)
        return sgd(groups, LR, momentum=MOMENTUM)
    fused = way.optimiser == "fused"
    return SGD(net.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=fused, foreach=not fused)


def _memory(way: Way, bench: Bench) -> float:
    """Return the MiB that a first step takes on top of network and images; gradients and momentum count."""
    return peak_memory(partial(prepare, way, bench.batch, bench.size, bench.device), bench.device)


def _limit(way: Way, bench: Bench) -> dict[str, float]:
    """Return the least seconds of our step by each of the machine's rates; a backward pass is two forward ones."""
    with torch.device("meta"):
        flops = 3 * 2 * multiply_adds(build_model("resnet18"), bench.size) * bench.batch
    return {
        "convolution": least_seconds(flops, bench.rates.convolution[way.dtype]),
        "matmul": least_seconds(flops, bench.rates.matmul[way.dtype]),
        "copy": least_seconds(_moved_bytes(way.dtype, bench), bench.rates.copy),
    }


def _moved_bytes(dtype: DType, bench: Bench) -> int:
    """Return the bytes of every convolution's output and its gradient, each written once and read once.

    Batch-norm needs the whole output before it can use any of it, so that no fusion can save these.
    """
    elements = 0

    def count(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal elements
        elements += output.numel()

    with torch.device("meta"):
        net = build_model("resnet18")
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(count)
        net(torch.empty(bench.batch, 3, bench.size, bench.size))
    return 4 * elements * (2 if dtype == "bfloat16" else 4)

"""`predict/*`: from a photo in memory to its mask and key points, in every backend; BiSeNet's network in the same."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.harness import Bench, Row, alternate, make_row
from benchmarks.limits import least_seconds
from benchmarks.memory import peak_memory
from benchmarks.scores import draw_labels
from benchmarks.timing import Call
from facekp.classes import NUM_CLASSES
from facekp.data.synthetic.write import draw_face
from facekp.errors import ConfigError
from facekp.export.onnx import export_onnx
from facekp.export.quantise import quantise
from facekp.hardware import Precision
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores, argmax_at, sum_on_grid
from facekp.models import build_model
from facekp.models.cost import multiply_adds
from facekp.parsing.backends import Backend, TorchBackend, open_backend
from facekp.parsing.parser import FaceParser

PEER = "BiSeNet-ResNet18"
CALIBRATION = 8
"""Drawn faces that int8's ranges are taken from: they decide on scores, not on time."""

Opener = Callable[[str], Backend]


class Drawn:
    """A network's work, with a drawn face's scores in place of its own.

    Random weights give noise for a mask, with thousands of outlines where a photo has twenty.
    """

    batch = 1

    def __init__(self, backend: Backend, scores: list[Scores]) -> None:
        self.backend, self.scores = backend, scores
        self.size, self.streams = backend.size, backend.streams

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Run the network, and return the drawn face's scores."""
        self.backend(images)
        return [scores[None] for scores in self.scores]


def rows(bench: Bench) -> Iterator[Row]:
    """Yield two rows a backend, network and photo to mask; then the fastest's, to the mask and to key points."""
    photos = np.stack([draw_face(seed, bench.size).image for seed in range(CALIBRATION)])
    scores = drawn_scores(bench.size)
    masks: dict[str, Row] = {}
    parsers: dict[str, FaceParser] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, opener in _openers(bench, Path(folder), photos).items():
            try:
                ours, peer = opener("resnet18"), opener("bisenet")
            except ConfigError as error:
                print(f"predict/{name}: left out, {error}", file=sys.stderr)
                continue
            title = f"{PEER}, {name}"
            runs = alternate(partial(ours, photos[:1]), partial(peer, photos[:1]), bench)
            yield make_row(f"predict/{name}/network", "ms", *_ms(*runs), peer_name=title, limit=_limit(bench, name))
            prepare, prepare_peer = (partial(prepare_mask, opener, net, bench.size) for net in ("resnet18", "bisenet"))
            runs = alternate(prepare(), prepare_peer(), bench)
            masks[name] = make_row(
                f"predict/{name}/mask",
                "ms",
                *_ms(*runs),
                peer_name=title,
                memory={"ours": peak_memory(prepare, bench.device), "peer": peak_memory(prepare_peer, bench.device)},
                limit=_limit(bench, name),
            )
            yield masks[name]
            parsers[name] = FaceParser(Drawn(ours, scores))
        fastest = min(masks, key=lambda name: masks[name].ours)
        yield _renamed(masks[fastest], "predict/bisenet", fastest)
        runs = alternate(partial(parsers[fastest], photos[0]), None, bench)
        note = f"photo to mask and key points, {fastest}; {1 / np.median(runs[0]):.1f} images/s"
        yield make_row("predict/fps", "ms", *_ms(*runs), note=note)


def drawn_scores(size: int) -> list[Scores]:
    """Return score maps (size/s, size/s, 19) float32 at strides 8, 16 and 32 whose argmax is a drawn face."""
    likely = F.one_hot(draw_labels(1, size), NUM_CLASSES).movedim(-1, 1).float()
    return [8 * F.avg_pool2d(likely, stride)[0].permute(1, 2, 0).contiguous().numpy() for stride in (8, 16, 32)]


def prepare_mask(opener: Opener, network: str, size: int) -> Call:
    """Return a call that makes the mask of a drawn photo of `size` pixels: by ours, or the peer's network and way."""
    scores, photo = drawn_scores(size), draw_face(0, size).image
    if network == "resnet18":
        return partial(our_mask, Drawn(opener(network), scores), photo)
    return partial(peer_mask, Drawn(opener(network), scores[:1]), photo)


def our_mask(backend: Backend, photo: UInt8Array) -> UInt8Array:
    """Return the mask (H, W) of a photo (H, W, 3) uint8 RGB of the network's size, as `FaceParser` makes it."""
    return argmax_at(sum_on_grid([scores[0] for scores in backend(photo[None])]), photo.shape[:2])


def peer_mask(backend: Backend, photo: UInt8Array) -> UInt8Array:
    """Return the same from one score map, by the fastest way that libraries offer: OpenCV's resize and NumPy's argmax.

    PyTorch's interpolate and argmax, which public parsers use, take several times as long.
    """
    (scores,) = backend(photo[None])
    upsampled = np.asarray(cv2.resize(scores[0], photo.shape[1::-1], interpolation=cv2.INTER_LINEAR))
    mask: UInt8Array = upsampled.argmax(2).astype(np.uint8)
    return mask


def _openers(bench: Bench, folder: Path, photos: UInt8Array) -> dict[str, Opener]:
    """Return, by name, what opens a network in each backend and precision of this machine."""
    precisions: tuple[Precision, ...] = bench.dtypes if bench.device.type == "cpu" else ("float32", "float16")
    openers: dict[str, Opener] = {f"torch-{p}": partial(_open_torch, bench, p) for p in precisions}
    if bench.device.type == "cpu":
        for backend in ("onnx", "openvino"):
            openers[f"{backend}-float32"] = partial(_open_onnx, bench, folder, backend)
            openers[f"{backend}-int8"] = partial(_open_onnx, bench, folder, backend, calibration=photos)
    return openers


def _open_torch(bench: Bench, precision: Precision, network: str) -> Backend:
    return TorchBackend(build_model(network), bench.size, bench.device, precision)


def _open_onnx(
    bench: Bench, folder: Path, backend: str, network: str, calibration: UInt8Array | None = None
) -> Backend:
    path, quantised = folder / f"{network}.onnx", folder / f"{network}.int8.onnx"
    if not path.exists():
        torch.manual_seed(0)
        export_onnx(build_model(network), bench.size, path)
    if calibration is None:
        return open_backend(path, backend=backend)
    if not quantised.exists():
        quantise(path, quantised, calibration)
    return open_backend(quantised, backend=backend)


def _limit(bench: Bench, name: str) -> dict[str, float]:
    """Return the least milliseconds of our network by this machine's measured rates; int8's is not measured."""
    dtype = name.partition("-")[2]
    if dtype == "int8":
        return {}
    if name == "openvino-float32" and "bfloat16" in bench.dtypes:
        dtype = "bfloat16"  # OpenVINO computes in it wherever the processor does
    with torch.device("meta"):
        flops = 2 * multiply_adds(build_model("resnet18"), bench.size)
    return {"convolution": 1000 * least_seconds(flops, bench.rates.convolution[dtype])}


def _ms(ours: list[float], peer: list[float]) -> tuple[list[float], list[float]]:
    return [1000 * t for t in ours], [1000 * t for t in peer]


def _renamed(row: Row, name: str, backend: str) -> Row:
    return replace(row, name=name, note=f"photo to mask, {backend}, the fastest")

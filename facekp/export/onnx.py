"""Networks as ONNX files, in float32 or int8."""

import json
import warnings
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
from torch import nn

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.errors import ConfigError, FacekpError
from facekp.images import UInt8Array, read_image, resize
from facekp.parsing.backends import ABOUT, describe_export
from facekp.parsing.choices import Head
from facekp.parsing.score_net import LabelNet, ScoreNet

MARK: Final = b'{"format": 1, "size": '  # bytes of the metadata of every exported file


def export_onnx(
    net: nn.Module, size: int, path: Path, terms: str = "", head: Head = "scores", classes: Classes = CELEBAMASK_HQ
) -> None:
    """Write a network as ONNX, for any batch and any multiple of 32 pixels: uint8 pixels in, scores or labels out.

    The file's metadata hold `size`, the side in pixels at which the network was evaluated, its terms of use and its
    classes. The head is "scores", the predicting heads' score maps (see `ScoreNet`), or "labels" (see `LabelNet`).

    Raises:
        ConfigError: onnx, onnxscript or onnxruntime is not installed.
        FacekpError: torch cannot export the network, or the file's results differ from torch's.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise ConfigError(f"{package} is not installed: pip install 'facekp[onnx]'")
    scores = ScoreNet(net).eval()
    module = LabelNet(scores).eval() if head == "labels" else scores
    example = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    names = ["labels"] if head == "labels" else [f"scores{i}" for i in range(len(scores(example)))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own internals
            program = torch.onnx.export(
                module, (example,), dynamo=True, verbose=False, opset_version=20, input_names=["images"],
                output_names=names, dynamic_shapes={"images": {0: "batch", 1: "height", 2: "width"}},
            )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        raise FacekpError(f"torch cannot export this network ({reason}): predict with its .ckpt") from error
    if program is None:
        raise TypeError("torch.onnx.export gave no program")
    if terms:
        program.model.metadata_props["terms"] = terms
    program.model.metadata_props[ABOUT] = json.dumps(describe_export(size, head, classes))
    program.save(path)
    _compare(module, path)


def _compare(module: nn.Module, path: Path) -> None:
    """Raise FacekpError if an exported file's results differ from torch's, at a size and batch of their own."""
    import onnxruntime

    images = np.random.default_rng(0).integers(0, 256, (2, 96, 160, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = [one.numpy() for one in module(torch.from_numpy(images))]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for got, want in zip(session.run(None, {"images": images}), wanted, strict=True):
        if want.dtype == np.uint8:  # labels, which differ where two scores are equal but for rounding
            off, most, of = float(np.mean(got != want)), 1e-3, "of the pixels"
        else:
            off, most, of = float(np.abs(got - want).max() / np.abs(want).max()), 1e-4, "of the largest score"
        if not off <= most:
            raise FacekpError(f"'{path}': differs from torch by {off:.1e} {of}; check the versions of torch and onnx")


def calibration_images(data: DataConfig, count: int) -> list[UInt8Array]:
    """Return up to `count` evenly spread training images, (size, size, 3) uint8 RGB each.

    Raises:
        DataError: no data set at `data.root`.
    """
    samples = FaceDataModule(data, seed=0, total_steps=0).split("train")
    spread = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return [resize(read_image(samples[i].image), (data.size, data.size)) for i in spread]


def quantise(source: Path, target: Path, images: Iterable[UInt8Array], classes: int = 19) -> None:
    """Write an int8 version of an ONNX network.

    Weights are quantised per output channel, activations per tensor over the range seen in `images` (static
    quantisation, QDQ format). The first convolution, depthwise ones and those that produce scores stay in float32. The
    metadata is kept.

    `images` are (H, W, 3) uint8 RGB, all of the same size, a multiple of 32; `classes` is the number of scores.

    Reference: Jacob et al. 2017, arXiv:1712.05877.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.feed: Iterator[dict[str, UInt8Array]] = ({"images": image[None]} for image in images)

        def get_next(self) -> dict[str, UInt8Array] | None:
            return next(self.feed, None)

    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        weights = {weight.name: tuple(weight.dims) for weight in graph.initializer}
        shapes = {node.name: weights[node.input[1]] for node in graph.node if node.op_type == "Conv"}
        # In int8, depthwise convolutions cost 4 points of mIoU in OpenVINO, the first one up to 12, and those that
        # produce scores a tenth; none of them takes much time.
        exact = [name for name, (n, c, *_) in shapes.items() if c in (1, 3) or n == classes]
        quantization.quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7-bit weights: without VNNI, sums of two products of 8 bits overflow
            calibrate_method=quantization.CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "Add", "MaxPool", "Relu"],
            nodes_to_exclude=exact,
        )

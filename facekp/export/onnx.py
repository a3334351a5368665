"""`python -m facekp.export [ckpt=...] format=onnx`: a network as an ONNX file, in float32 or int8."""

import json
import os
import shutil
import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from facekp.cli import parse_cli
from facekp.config import TRAINING_ONLY, DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.errors import ConfigError, FacekpError, one_line_errors, require
from facekp.export.quantise import quantise
from facekp.files import expand, make_folder, replacing
from facekp.images import UInt8Array, read_image, resize
from facekp.parsing.choices import ONNX_SUFFIX, is_onnx
from facekp.parsing.onnx_backends import ABOUT, OnnxBackend, describe_export
from facekp.parsing.score_net import ScoreNet
from facekp.weights.load import load_network
from facekp.weights.paths import SHIPPED, TERMS, WEIGHTS, locate_checkpoint

OPSET = 20
FORMATS = ("onnx",)
PRECISIONS = ("float32", "int8")
CHECKED_SHAPE = (2, 96, 160, 3)
TOLERANCE = 1e-4
"""Largest difference between torch's and the file's scores, as a share of the largest score."""


@dataclass
class ExportConfig:
    """Which checkpoint becomes what."""

    ckpt: str = field(default=SHIPPED, metadata={"help": "RUN/checkpoints/best.ckpt, or shipped: facekp's own weights"})
    format: str = field(default="onnx", metadata={"help": "onnx; onnxruntime and OpenVINO read it"})
    precision: str = field(default="float32", metadata={"help": "float32, or int8 calibrated on training images"})
    out: str | None = field(
        default=None, metadata={"help": "file to write; null: beside the checkpoint; of shipped weights, here"}
    )
    images: int = field(default=128, metadata={"help": "training images that int8 is calibrated on"})
    data: DataConfig = field(default_factory=lambda: DataConfig(root=os.environ.get("FACEKP_DATA")))

    def __post_init__(self) -> None:
        """Check values."""
        require("format", self.format, self.format in FORMATS, f"choose one of {', '.join(FORMATS)}")
        require("precision", self.precision, self.precision in PRECISIONS, f"choose one of {', '.join(PRECISIONS)}")
        named = self.out is None or is_onnx(self.out)
        require("out", self.out, named, f"end it in {ONNX_SUFFIX}, by which prediction knows what it is")
        require("images", self.images, self.images >= 1, "give at least 1")


def export_onnx(net: nn.Module, size: int, path: Path, terms: str = "") -> None:
    """Write a network as ONNX: uint8 pixels in, the heads' score maps out, any batch and any multiple of 32 pixels.

    Args:
        net: a network of `facekp.models`.
        size: side in pixels at which it was evaluated.
        path: file to write.
        terms: under which the network may be used; the file's metadata says them.

    Raises:
        ConfigError: onnx is not installed.
        FacekpError: the file's scores are not torch's.
    """
    scores = ScoreNet(net).eval()
    example = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    names = [f"scores{i}" for i in range(len(scores(example)))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own internals
            program = torch.onnx.export(
                scores, (example,), dynamo=True, verbose=False, opset_version=OPSET, input_names=["images"],
                output_names=names, dynamic_shapes={"images": {0: "batch", 1: "height", 2: "width"}},
            )  # fmt: skip
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install -e '.[onnx]'") from error
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        raise FacekpError(f"torch cannot export this network ({reason}): predict with its .ckpt") from error
    if program is None:
        raise TypeError("torch.onnx.export gave no program")
    if terms:
        program.model.metadata_props["terms"] = terms
    program.model.metadata_props[ABOUT] = json.dumps(describe_export(size))
    program.save(path)
    _check(scores, path)


def _check(scores: ScoreNet, path: Path) -> None:
    """Compare the file with torch at a size and batch that it was not made at."""
    images = np.random.default_rng(0).integers(0, 256, CHECKED_SHAPE, dtype=np.uint8)
    with torch.inference_mode():
        wanted = [s.numpy() for s in scores(torch.from_numpy(images))]
    for got, want in zip(OnnxBackend(path)(images), wanted, strict=True):
        off = float(np.abs(got - want).max() / np.abs(want).max())
        if not off <= TOLERANCE:
            raise FacekpError(
                f"'{path}': its scores are off by {off:.1e} of the largest; see torch's and onnx's versions"
            )


def calibration_images(data: DataConfig, count: int) -> list[UInt8Array]:
    """Return evenly spread training images, (size, size, 3) uint8 RGB each.

    Raises:
        DataError: no data set at `data.root`.
    """
    samples = FaceDataModule(data, seed=0, total_steps=0).split("train")
    spread = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return [resize(read_image(samples[i].image), (data.size, data.size)) for i in spread]


def main(argv: list[str]) -> None:
    """Write what `argv` asks for."""
    unused = TRAINING_ONLY | {"data.eval_batch_size", "data.workers"}
    config = parse_cli(
        ExportConfig, argv, program="python -m facekp.export", about=f"{__doc__}\n\n{TERMS}", without=unused
    )
    ckpt = locate_checkpoint(config.ckpt)
    net, about = load_network(ckpt)
    size = int(about["size"])
    ending = ONNX_SUFFIX if config.precision == "float32" else f".{config.precision}{ONNX_SUFFIX}"
    beside = Path(ckpt.name) if ckpt == WEIGHTS else ckpt  # never into the package
    out = expand(config.out) if config.out else beside.with_suffix(ending)
    make_folder(out.parent)
    # First, so that a data set that is missing is told before any work.
    images = calibration_images(replace(config.data, size=size), config.images) if config.precision == "int8" else []
    with TemporaryDirectory() as folder:
        made = Path(folder) / "float32.onnx"
        export_onnx(net, size, made, about.get("terms", ""))
        if images:
            float32, made = made, Path(folder) / "int8.onnx"
            quantise(float32, made, images)
        with replacing(out) as part:
            shutil.copyfile(made, part)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, {config.precision}, for images of {size} pixels")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

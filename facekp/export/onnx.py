"""Networks as ONNX files, in float32 or int8."""

import json
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
from torch import nn

from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.errors import ConfigError, FacekpError
from facekp.export.quantise import quantise
from facekp.export.settings import ExportSettings
from facekp.files import expand, make_folder, replacing
from facekp.images import UInt8Array, read_image, resize
from facekp.parsing.backends import ABOUT, OnnxBackend, describe_export
from facekp.parsing.choices import ONNX_SUFFIX
from facekp.parsing.score_net import ScoreNet
from facekp.weights.load import load_network
from facekp.weights.paths import WEIGHTS, locate_checkpoint

OPSET: Final = 20
CHECKED_SHAPE: Final = (2, 96, 160, 3)
TOLERANCE: Final = 1e-4
"""Largest difference between torch's scores and the file's, as a share of the largest score."""


def export_checkpoint(settings: ExportSettings) -> tuple[Path, int]:
    """Write the network of a checkpoint as an ONNX file.

    Returns:
        The file, and the side in pixels of the images it is for.

    Raises:
        CheckpointError: see `load_network`.
        ConfigError: onnx is not installed.
        DataError: there is no data set to calibrate on, or the file cannot be written.
    """
    ckpt = locate_checkpoint(settings.ckpt)
    net, about = load_network(ckpt)
    size = int(about["size"])
    quantised = settings.precision != "float32"
    beside = Path(ckpt.name) if ckpt == WEIGHTS else ckpt  # never into the package
    suffix = f".{settings.precision}{ONNX_SUFFIX}" if quantised else ONNX_SUFFIX
    out = expand(settings.out) if settings.out else beside.with_suffix(suffix)
    make_folder(out.parent)
    # Read first, so that a missing data set is reported before any work.
    images = calibration_images(settings.data.at_size(size), settings.images) if quantised else []
    with TemporaryDirectory() as folder:
        made = Path(folder) / "float32.onnx"
        export_onnx(net, size, made, about.get("terms", ""))
        if quantised:
            float32, made = made, Path(folder) / "int8.onnx"
            quantise(float32, made, images)
        with replacing(out) as part:
            shutil.copyfile(made, part)
    return out, size


def export_onnx(net: nn.Module, size: int, path: Path, terms: str = "") -> None:
    """Write a network as ONNX: uint8 pixels in, the heads' score maps out, for any batch and any multiple of 32 pixels.

    Args:
        net: a network of `facekp.models`.
        size: side in pixels at which it was evaluated.
        path: file to write.
        terms: terms of use of the network, for the file's metadata.

    Raises:
        ConfigError: onnx is not installed.
        FacekpError: torch cannot export the network, or the file's scores are not torch's.
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
    _require_same_scores(scores, path)


def _require_same_scores(scores: ScoreNet, path: Path) -> None:
    """Compare the file with torch, at another size and batch than it was exported at."""
    images = np.random.default_rng(0).integers(0, 256, CHECKED_SHAPE, dtype=np.uint8)
    with torch.inference_mode():
        wanted = [s.numpy() for s in scores(torch.from_numpy(images))]
    for got, want in zip(OnnxBackend(path)(images), wanted, strict=True):
        off = float(np.abs(got - want).max() / np.abs(want).max())
        if not off <= TOLERANCE:
            raise FacekpError(
                f"'{path}': its scores are off by {off:.1e} of the largest; check the versions of torch and onnx"
            )


def calibration_images(data: DataConfig, count: int) -> list[UInt8Array]:
    """Return up to `count` evenly spread training images, (size, size, 3) uint8 RGB each.

    Raises:
        DataError: no data set at `data.root`.
    """
    samples = FaceDataModule(data, seed=0, total_steps=0).split("train")
    spread = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return [resize(read_image(samples[i].image), (data.size, data.size)) for i in spread]

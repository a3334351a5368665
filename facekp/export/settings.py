"""The settings of the commands of this room. This module imports nothing heavy."""

import os
from dataclasses import dataclass, field

from omegaconf import MISSING

from facekp.config import FacesConfig, ScoringConfig
from facekp.data.layout import SPLITS
from facekp.parsing.choices import ONNX_SUFFIX, is_onnx
from facekp.settings import Affects, Settings, at_least, check_that, multiple_of, one_of, setting
from facekp.weights.paths import SAFETENSORS, SHIPPED, is_safetensors

KNOWN_BY_IT = "prediction recognises the file by it"


@dataclass
class ExportSettings(Settings):
    """Which checkpoint to export, and how."""

    ckpt: str = setting(SHIPPED, "RUN/checkpoints/best.ckpt, or shipped: facekp's own weights", path=True)
    format: str = setting("onnx", "onnx, which onnxruntime and OpenVINO read", check=one_of("onnx"))
    precision: str = setting(
        "float32", "float32, or int8 calibrated on training images", check=one_of("float32", "int8")
    )
    out: str | None = setting(
        None,
        "file to write; null: beside the checkpoint, for shipped weights in this folder",
        affects=Affects.PLACE,
        check=check_that(is_onnx, f"a path that ends in {ONNX_SUFFIX}", why=KNOWN_BY_IT),
        path=True,
    )
    images: int = setting(128, "number of training images to calibrate int8 on", check=at_least(1))
    data: FacesConfig = field(default_factory=lambda: FacesConfig(root=os.environ.get("FACEKP_DATA")))


@dataclass
class ReleaseSettings(Settings):
    """Which checkpoint to release, and how to score it."""

    ckpt: str = setting(MISSING, "RUN/checkpoints/best.ckpt", path=True)
    out: str = setting(
        MISSING,
        "NAME.safetensors; NAME.json is written beside it",
        affects=Affects.PLACE,
        check=check_that(is_safetensors, f"a path that ends in {SAFETENSORS}", why=KNOWN_BY_IT),
        path=True,
    )
    size: int | None = setting(None, "side of photos, pixels; null: as trained", check=multiple_of(32))
    terms: str | None = setting(None, "terms of use of the weights")
    data: ScoringConfig = field(default_factory=lambda: ScoringConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = setting("val", "split to score on: train, val or test", check=one_of(*SPLITS))
    offsets: int = setting(0, "training images to fit a constant for each class's score on", check=at_least(0))
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...", affects=Affects.MACHINE)

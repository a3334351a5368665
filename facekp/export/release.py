"""`python -m facekp.export.release ckpt=... data.root=... out=NAME.safetensors`: weights alone, and their scores.

What is written is read again and scored on the validation split; NAME.json has those scores.
"""

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import MISSING

from facekp.classes import ATTRIBUTES
from facekp.cli import parse_cli
from facekp.config import TRAINING_ONLY, DataConfig, fold
from facekp.data.datamodule import FaceDataModule
from facekp.data.layout import SPLITS
from facekp.errors import one_line_errors, require
from facekp.export.class_offsets import add_offsets, fit_offsets, sample_scores
from facekp.files import expand, make_folder
from facekp.hardware import keep_freed_memory, resolve_device
from facekp.training.resume import ANY_TIME, SETTINGS
from facekp.training.scoring import network_scorer
from facekp.weights.checkpoint import describe, read_checkpoint, write_weights
from facekp.weights.load import load_network
from facekp.weights.paths import SAFETENSORS

PATHS = {"data.root", "init"}
"""Settings that are of no use elsewhere."""


@dataclass
class ReleaseConfig:
    """Which checkpoint becomes which weights."""

    ckpt: str = field(default=MISSING, metadata={"help": "RUN/checkpoints/best.ckpt"})
    out: str = field(default=MISSING, metadata={"help": "NAME.safetensors; NAME.json is written beside it"})
    size: int | None = field(default=None, metadata={"help": "side in pixels of photos; null: as trained"})
    terms: str | None = field(default=None, metadata={"help": "under which the weights may be used"})
    data: DataConfig = field(default_factory=lambda: DataConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = field(default="val", metadata={"help": "what it is scored on: train, val or test"})
    offsets: int = field(
        default=0,
        metadata={"help": "training images to which a constant for each class's score is fitted"},
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})

    def __post_init__(self) -> None:
        """Check values."""
        named = Path(self.out).suffix == SAFETENSORS
        require("out", self.out, named, f"end it in {SAFETENSORS}, by which prediction knows what it is")
        require("split", self.split, self.split in SPLITS, f"choose one of {', '.join(SPLITS)}")
        size = self.size
        require("size", size, size is None or (size >= 32 and size % 32 == 0), "give a multiple of 32, or null")
        require("offsets", self.offsets, self.offsets >= 0, "give a number of training images, such as 1000, or 0")


def release(config: ReleaseConfig) -> dict[str, Any]:
    """Write the weights and what they reach; return the latter.

    Raises:
        CheckpointError: `ckpt` is none that training wrote.
        DataError: the data set cannot be used, or `out` cannot be written.
    """
    make_folder(expand(config.out).parent)  # before the minutes of scoring
    content = read_checkpoint(expand(config.ckpt))
    device = resolve_device(config.device)
    net, about = load_network(config.ckpt)
    about = describe(about["model"], config.size or int(about["size"]))
    data = FaceDataModule(replace(config.data, size=about["size"]), seed=0, total_steps=0)
    images = len(data.split(config.split))
    if config.terms:
        about["terms"] = config.terms
    settings = {name: value for name, value in fold(content.get(SETTINGS, {})).items() if name not in ANY_TIME | PATHS}
    about["trained"] = {"steps": int(content["global_step"]), "settings": settings}
    if config.offsets:
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        offsets = fit_offsets(*sample_scores(net, data.evaluation_loader("train", config.offsets), device))
        add_offsets(net, offsets.to(device))
        values = {name: round(float(value), 2) for name, value in zip(ATTRIBUTES, offsets, strict=True)}
        about["offsets"] = {"images": min(config.offsets, len(data.split("train"))), "values": values}
    with TemporaryDirectory() as folder:  # what is there already stays until all is done
        path = Path(folder) / f"stored{SAFETENSORS}"
        write_weights(net, about, path)
        stored = network_scorer(load_network(path)[0], about, device)
    scores = stored(data.evaluation_loader(config.split))
    about["scores"] = {"split": config.split, "images": images, "size": about["size"], **scores}
    write_weights(net, about, expand(config.out))
    return about


def main(argv: list[str]) -> None:
    """Write, and say how large it is and what it reaches."""
    keep_freed_memory()
    about = __doc__ or ""
    config = parse_cli(
        ReleaseConfig, argv, program="python -m facekp.export.release", about=about, without=TRAINING_ONLY
    )
    scores = release(config)["scores"]
    megabytes = expand(config.out).stat().st_size / 1e6
    print(f"{config.out}: {megabytes:.1f} MB, for images of {scores['size']} pixels")
    print(f"{config.split}: mIoU {scores['miou']:.4f}, mean F1 {scores['mean_f1']:.4f}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

"""`python -m facekp.release ckpt=... data.root=... out=NAME.safetensors`: weights alone, and their scores.

What is written is read again and scored on the validation split; NAME.json has those scores.
"""

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING

from facekp.backends import resolve_device
from facekp.checkpoint import describe, read_checkpoint
from facekp.checks import expand, require
from facekp.cli import parse_cli
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.errors import one_line_errors
from facekp.evaluate import evaluate
from facekp.machine import keep_freed_memory
from facekp.resume import SETTINGS
from facekp.weights import SAFETENSORS, TERMS, load_network, write_weights


@dataclass
class ReleaseConfig:
    """Which checkpoint becomes which weights."""

    ckpt: str = field(default=MISSING, metadata={"help": "RUN/checkpoints/best.ckpt"})
    out: str = field(default=MISSING, metadata={"help": "NAME.safetensors; NAME.json is written beside it"})
    size: int = field(default=512, metadata={"help": "side in pixels that photos are brought to"})
    data: DataConfig = field(default_factory=lambda: DataConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = field(default="val", metadata={"help": "what it is scored on: train, val or test"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})

    def __post_init__(self) -> None:
        """Check values."""
        named = Path(self.out).suffix == SAFETENSORS
        require("out", self.out, named, f"end it in {SAFETENSORS}, by which prediction knows what it is")
        require("size", self.size, self.size >= 32 and self.size % 32 == 0, "give a multiple of 32, such as 512")


def release(config: ReleaseConfig) -> dict[str, Any]:
    """Write the weights and what they reach; return the latter.

    Raises:
        CheckpointError: `ckpt` is none that training wrote.
        DataError: the data set cannot be used.
    """
    content = read_checkpoint(expand(config.ckpt))
    net, about = load_network(config.ckpt)
    about = describe(about["model"], config.size) | {"terms": " ".join(TERMS.split())}
    about["trained"] = {"steps": int(content["global_step"]), "settings": content.get(SETTINGS)}
    data = FaceDataModule(replace(config.data, size=config.size), seed=0, total_steps=0)
    data.setup(config.split)
    out = expand(config.out)
    write_weights(net, about, out)
    device = resolve_device(config.device)
    stored = load_network(out)[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scores = evaluate(stored, data.evaluation_loader(config.split), device)
    about["scores"] = {"split": config.split, "images": len(data.samples[config.split]), "size": config.size, **scores}
    write_weights(net, about, out)
    return about


def main(argv: list[str]) -> None:
    """Write, and say how large it is and what it reaches."""
    keep_freed_memory()
    config = parse_cli(ReleaseConfig, argv, program="python -m facekp.release", about=__doc__ or "")
    scores = release(config)["scores"]
    megabytes = expand(config.out).stat().st_size / 1e6
    print(f"{config.out}: {megabytes:.1f} MB, for images of {config.size} pixels")
    print(f"{config.split}: mIoU {scores['miou']:.4f}, mean F1 {scores['mean_f1']:.4f}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

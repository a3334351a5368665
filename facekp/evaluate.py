"""`python -m facekp.evaluate [ckpt=...] data.root=... split=val`: the scores of a network on labelled faces."""

import json
import os
import sys
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from facekp.classes import ATTRIBUTES
from facekp.cli import parse_cli
from facekp.config import TRAINING_ONLY, DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.layout import SPLITS
from facekp.errors import one_line_errors, require
from facekp.files import expand, make_folder, replacing
from facekp.hardware import keep_freed_memory, resolve_device
from facekp.models import Heads
from facekp.parsing.backends import open_backend
from facekp.parsing.choices import is_onnx
from facekp.training.scoring import Scorer, network_scorer
from facekp.weights.load import load_network
from facekp.weights.paths import CHECKPOINTS, CKPT_HELP, SHIPPED, TERMS


@dataclass
class EvaluateConfig:
    """What is scored on what."""

    ckpt: str = field(default=SHIPPED, metadata={"help": CKPT_HELP})
    data: DataConfig = field(default_factory=lambda: DataConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = field(default="val", metadata={"help": "train, val or test"})
    size: int | None = field(default=None, metadata={"help": "side in pixels of the images; null: as in training"})
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    out: str = field(default="metrics.json", metadata={"help": "file that the scores are written to"})

    def __post_init__(self) -> None:
        """Check values."""
        require("split", self.split, self.split in SPLITS, f"choose one of {', '.join(SPLITS)}")
        size = self.size
        require("size", size, size is None or (size >= 32 and size % 32 == 0), "give a multiple of 32, or null")


def load_scorer(path: str, backend: str, device: str) -> Scorer:
    """Return the scorer of a checkpoint, or of an ONNX file, which has no auxiliary heads and hence no loss."""
    if not is_onnx(path) and backend in ("auto", "torch"):
        net, about = load_network(path)
        return network_scorer(net, about, resolve_device(device))
    runner = open_backend(path, device=device, backend=backend)

    def run(pixels: Tensor) -> Heads:
        return Heads(tuple(torch.from_numpy(s).permute(0, 3, 1, 2) for s in runner(pixels.numpy())))

    return Scorer(run, runner.size, torch.device("cpu"), criterion=None)


def main(argv: list[str]) -> None:
    """Print the scores and write them."""
    keep_freed_memory()
    about = f"{__doc__}\n\n{TERMS}"
    config = parse_cli(EvaluateConfig, argv, program="python -m facekp.evaluate", about=about, without=TRAINING_ONLY)
    out = expand(config.out)
    own = out.name == "metrics.json" and (out.parent / CHECKPOINTS).is_dir()
    require("out", config.out, not own, "this is a run folder, whose own summary has that name: give another")
    make_folder(out.parent)
    scorer = load_scorer(config.ckpt, config.backend, config.device)
    data = FaceDataModule(replace(config.data, size=config.size or scorer.size), seed=0, total_steps=0)
    scores = scorer(data.evaluation_loader(config.split))
    for name in ("loss", "miou", "mean_f1", "pixel_accuracy"):
        print(f"{name:<16} " + ("none" if scores[name] is None else f"{scores[name]:.4f}"))
    print(f"\n{'class':<12} {'IoU':>7} {'F1':>7}")
    for name in ATTRIBUTES:
        iou, f1 = scores["iou"][name], scores["f1"][name]
        print(f"{name:<12} " + ("  absent" if iou is None else f"{iou:>7.4f} {f1:>7.4f}"))
    with replacing(out) as part:
        part.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

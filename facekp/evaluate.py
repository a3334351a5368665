"""`python -m facekp.evaluate [ckpt=...] data.root=... split=val`: the scores of a network on labelled faces."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from facekp.classes import ATTRIBUTES
from facekp.cli import parse_cli
from facekp.config import TRAINING_ONLY, DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.dataset import Pixels, to_batch
from facekp.data.layout import SPLITS
from facekp.data.transforms import denormalise
from facekp.errors import one_line_errors, require
from facekp.files import expand, make_folder, replacing
from facekp.hardware import keep_freed_memory
from facekp.losses.ohem import OhemCrossEntropy
from facekp.parsing.backends import is_onnx, open_backend, resolve_device
from facekp.training.metrics import Evaluation, nest_scores
from facekp.weights.checkpoint import CHECKPOINTS
from facekp.weights.load import CKPT_HELP, SHIPPED, TERMS, load_network


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


@torch.inference_mode()
def evaluate(
    net: Callable[[Tensor], Sequence[Tensor]], loader: DataLoader[Pixels], device: torch.device
) -> dict[str, Any]:
    """Score a network.

    Args:
        net: from normalised images (N, 3, H, W) float32 to score maps (N, 19, h, w), such as a network of
            `facekp.models` in evaluation mode, on `device`.
        loader: batches as `FaceDataset` gives them.
        device: where it runs.

    Returns:
        `loss` (OHEM with the default settings, summed over heads, mean over images), `miou`, `mean_f1`,
        `pixel_accuracy`, `classes`, and `iou` and `f1` by class; None for a class that is in no image.
    """
    evaluation = Evaluation(OhemCrossEntropy()).to(device)
    for pixels in tqdm(loader, unit="batch", desc="evaluating"):
        batch = to_batch({"image": pixels["image"].to(device), "label": pixels["label"].to(device)})
        evaluation.update(net(batch["image"]), batch["label"])
    return nest_scores({f"val/{name}": float(value) for name, value in evaluation.compute().items()}, "val")


def load_scorer(path: str, backend: str, device: str) -> tuple[Callable[[Tensor], Sequence[Tensor]], int, torch.device]:
    """Return what `evaluate` scores, the size of its images, and where its score maps are.

    A checkpoint is scored as training scores it, but always in float32; an ONNX file as prediction runs it.
    """
    if not is_onnx(path) and backend in ("auto", "torch"):
        net, about = load_network(path)
        where = resolve_device(device)
        return net.to(where, memory_format=torch.channels_last), int(about["size"]), where  # type: ignore[call-overload]
    runner = open_backend(path, backend, device)

    def run(images: Tensor) -> list[Tensor]:
        scores = runner(denormalise(images.permute(0, 2, 3, 1).numpy()))
        return [torch.from_numpy(s).permute(0, 3, 1, 2) for s in scores]

    return run, runner.size, torch.device("cpu")


def main(argv: list[str]) -> None:
    """Print the scores and write them."""
    keep_freed_memory()
    about = f"{__doc__}\n\n{TERMS}"
    config = parse_cli(EvaluateConfig, argv, program="python -m facekp.evaluate", about=about, without=TRAINING_ONLY)
    out = expand(config.out)
    own = out.name == "metrics.json" and (out.parent / CHECKPOINTS).is_dir()
    require("out", config.out, not own, "this is a run folder, whose own summary has that name: give another")
    make_folder(out.parent)
    net, size, device = load_scorer(config.ckpt, config.backend, config.device)
    data = FaceDataModule(replace(config.data, size=config.size or size), seed=0, total_steps=0)
    scores = evaluate(net, data.evaluation_loader(config.split), device)
    for name in ("loss", "miou", "mean_f1", "pixel_accuracy"):
        print(f"{name:<16} {scores[name]:.4f}")
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

"""Every figure of the model card, in Markdown: `python -m benchmarks.card data.root=... [ckpt=...]`.

The scores of all images and of every class at each of `sizes`; at the last size, also groups of faces (glasses, hats,
dark photos, ...) compared with all others, and the network's worst images.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.card.groups import measure_all, select_members
from benchmarks.card.scores import compare_groups, count, report_worst, score, tables
from benchmarks.harness import run, stamp, write_json
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.layout import SPLITS
from facekp.errors import require
from facekp.evaluate import load_scorer
from facekp.files import expand
from facekp.images import UInt8Array
from facekp.models import fuse
from facekp.settings import Settings, at_least, each, multiple_of, one_of, setting
from facekp.training.metrics import Scorer
from facekp.weights.paths import CKPT_HELP, SHIPPED, TERMS, locate_checkpoint


@dataclass
class Options(Settings):
    """Which network, on which faces."""

    ckpt: str = setting(SHIPPED, CKPT_HELP)
    data: DataConfig = field(default_factory=lambda: DataConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = setting("val", "train, val or test", check=one_of(*SPLITS))
    images: int | None = setting(None, "number of images, from the first; null: all", check=at_least(1))
    sizes: list[int] = setting([448, 512], "sides, pixels; groups and worst: at the last", check=each(multiple_of(32)))
    worst: int = setting(40, "number of worst images that are listed", check=at_least(1))
    out: str | None = setting(None, "file; null: card.json for shipped weights on all real images of val, else none")

    def __post_init__(self) -> None:
        super().__post_init__()
        require("data.size", self.data.size, self.data.size == DataConfig.size, "use sizes=[...] instead")

    def path(self) -> Path | None:
        """Return the file to write, with null resolved."""
        whole = (self.ckpt, self.split, self.images) == (SHIPPED, "val", None) and self.data.source != "synthetic"
        return expand(self.out) if self.out else Path(__file__).parents[1] / "card.json" if whole else None


def parse(scorer: Scorer, data: FaceDataModule, split: str) -> Iterator[tuple[UInt8Array, UInt8Array]]:
    """Yield label and predicted mask (H, W) uint8 of every image, as evaluation has them."""
    for pixels in tqdm(data.evaluation_loader(split), unit="batch", desc="parsing"):
        size = (pixels["label"].shape[1], pixels["label"].shape[2])
        with torch.inference_mode():
            masks = fuse(scorer.run(pixels["image"].to(scorer.device)).predict, size).argmax(1).to("cpu", torch.uint8)
        yield from zip(pixels["label"].numpy(), masks.numpy(), strict=True)


def measure(settings: Options, scorer: Scorer) -> dict[str, Any]:
    """Return all figures."""
    scores, split = {}, settings.split
    for size in settings.sizes:
        data = FaceDataModule(replace(settings.data, size=size), seed=0, total_steps=0)
        samples = data.samples[split] = data.split(split)[: settings.images]
        confusions = np.stack([count(label, mask) for label, mask in parse(scorer, data, split)])
        scores[str(size)] = score(confusions)
    ids, members = [sample.id for sample in samples], select_members(measure_all(samples))
    worst = report_worst(ids, confusions, members, settings.worst)
    return {"images": len(ids), "scores": scores, **compare_groups(confusions, members), "worst": worst}


def main(settings: Options) -> None:
    """Measure, print and write."""
    ckpt, out = locate_checkpoint(settings.ckpt), settings.path()
    scorer = load_scorer(str(ckpt), "auto", "auto")
    about = {"ckpt": ckpt.name, "sha256": hashlib.sha256(ckpt.read_bytes()).hexdigest(), "split": settings.split}
    card = stamp() | about | measure(settings, scorer)
    write_json(out, card)
    print(*tables(card), sep="\n\n")
    print(f"{card['images']} images of {settings.split}; written: {out or 'no file'}", file=sys.stderr)


if __name__ == "__main__":
    run(Options, main, f"{__doc__}\n{TERMS}")

"""Every figure of the model card, as Markdown: `python -m benchmarks.card data.root=... [ckpt=...] [pictures=DIR]`.

The scores of all images and of every class at each of `sizes`; then, at the last of them, those of groups of faces
(glasses, hats, dark photos, ...) beside those of all others, and the images that the network does worst on.

`pictures=DIR` draws these: photo, ground truth and prediction. They are CelebAMask-HQ's faces, which may not be
published, committed or passed on; the JSON file holds figures and ids, no pictures.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.card.contrast import contrast
from benchmarks.card.groups import GROUPS, count_shared, place_all
from benchmarks.card.scores import Network, Parsed, count_images, parse, score
from benchmarks.card.sheets import Shown, claim_folder, write_sheets
from benchmarks.card.tables import tables
from benchmarks.card.worst import report_worst
from benchmarks.results import reserve
from facekp.cli import parse_cli
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.layout import SPLITS
from facekp.errors import one_line_errors, require
from facekp.evaluate import load_scorer
from facekp.files import expand, replacing
from facekp.hardware import describe_machine, keep_freed_memory, list_versions
from facekp.weights.paths import CKPT_HELP, SHIPPED, TERMS, locate_checkpoint


@dataclass
class Settings:
    """Which network, on which faces."""

    ckpt: str = field(default=SHIPPED, metadata={"help": CKPT_HELP})
    data: DataConfig = field(default_factory=lambda: DataConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = field(default="val", metadata={"help": "train, val or test"})
    images: int | None = field(default=None, metadata={"help": "only the first so many; null: all"})
    sizes: list[int] = field(
        default_factory=lambda: [448, 512], metadata={"help": "sides in pixels; groups and the worst: at the last"}
    )
    worst: int = field(default=40, metadata={"help": "how many of the worst images are listed and drawn"})
    pictures: str | None = field(
        default=None,
        metadata={"help": "folder for sheets of the worst: licensed faces, never publish or commit them; null: none"},
    )
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    out: str | None = field(
        default=None,
        metadata={
            "help": "file for the figures; null: benchmarks/card.json for the shipped weights on all real images of "
            "val, else none"
        },
    )

    def __post_init__(self) -> None:
        """Check values."""
        require("split", self.split, self.split in SPLITS, f"choose one of {', '.join(SPLITS)}")
        require("images", self.images, self.images is None or self.images >= 1, "give at least 1, or null")
        fit = bool(self.sizes) and all(side >= 32 and side % 32 == 0 for side in self.sizes)
        require("sizes", self.sizes, fit, "give multiples of 32, such as [448,512]")
        require("data.size", self.data.size, self.data.size == DataConfig.size, "give sizes=[...], which decides here")
        require("worst", self.worst, self.worst >= 1, "give at least 1")

    def path(self) -> Path | None:
        """Return the file to write, with null resolved: the card's own is of the shipped weights on all real faces."""
        if self.out is not None:
            return expand(self.out)
        whole = self.split == "val" and self.images is None and self.data.source != "synthetic"
        return Path(__file__).parents[1] / "card.json" if whole and self.ckpt == SHIPPED else None


def load(settings: Settings, size: int) -> FaceDataModule:
    """Return the labelled faces, to be parsed at `size`."""
    data = FaceDataModule(replace(settings.data, size=size), seed=0, total_steps=0)
    data.samples[settings.split] = data.split(settings.split)[: settings.images]
    return data


def measure(settings: Settings, net: Network, device: torch.device) -> dict[str, Any]:
    """Return all figures, and draw the worst images where `pictures` is set."""

    def parsed(data: FaceDataModule) -> Iterator[Parsed]:
        return parse(net, data.evaluation_loader(settings.split), device)

    counts = {size: count_images(parsed(load(settings, size))) for size in settings.sizes}
    data, confusions = load(settings, settings.sizes[-1]), counts[settings.sizes[-1]]
    samples = data.split(settings.split)
    placed = place_all(samples)
    worst, report = report_worst([sample.id for sample in samples], confusions, placed, settings.worst)
    if settings.pictures:
        data.samples[settings.split] = [samples[i] for i in worst]
        write_sheets(expand(settings.pictures), show(parsed(data), report["images"]))
    return {
        "images": len(samples),
        "scores": {str(size): score(confusions) for size, confusions in counts.items()},
        "groups": {name: {"about": GROUPS[name].about, **contrast(confusions, one)} for name, one in placed.items()},
        "shared": count_shared(placed),
        "worst": report,
    }


def show(parsed: Iterator[Parsed], images: Sequence[dict[str, Any]]) -> Iterator[Shown]:
    """Yield what is drawn of the worst images, from what was parsed of them and what is said about them."""
    faces = (face for batch in parsed for face in zip(*batch, strict=True))
    for number, (image, face) in enumerate(zip(images, faces, strict=True), 1):
        photo, truth, mask = (pixels.cpu().numpy().astype(np.uint8) for pixels in face)
        missed = ", ".join(f"{name} {f1:.2f}" for name, f1 in image["missed"].items())
        imagined = ", ".join(f"{name} {pixels} px" for name, pixels in image["false_positive"].items())
        text = f"{number}. {image['id']}: {image['score']:.3f}   {', '.join(image['groups'])}"
        yield Shown(photo, truth, mask, f"{text}\nmissed: {missed or '-'}; false positive: {imagined or '-'}")


def main(argv: Sequence[str]) -> None:
    """Measure, print and write."""
    keep_freed_memory()
    settings = parse_cli(Settings, argv, program="python -m benchmarks.card", about=f"{__doc__}\n{TERMS}")
    ckpt, out = locate_checkpoint(settings.ckpt), settings.path()
    scorer = load_scorer(str(ckpt), settings.backend, settings.device)
    net, device = scorer.run, scorer.device
    # Before the minutes that it takes.
    if out:
        reserve("out", out)
    if settings.pictures:
        claim_folder(expand(settings.pictures))
    card = {
        "machine": describe_machine(),
        "versions": list_versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "ckpt": ckpt.name,
        "sha256": hashlib.sha256(ckpt.read_bytes()).hexdigest(),
        "split": settings.split,
        **measure(settings, net, device),
    }
    if out:
        with replacing(out) as part:
            part.write_text(json.dumps(card, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(*tables(card), sep="\n\n")
    print(f"{card['images']} images of {settings.split}; written: {out or 'no file'}", file=sys.stderr)
    if settings.pictures:
        print(f"in {expand(settings.pictures)}: licensed faces, to be looked at and not passed on", file=sys.stderr)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

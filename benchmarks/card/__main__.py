"""Every figure of the model card: `python -m benchmarks.card ckpt=... data.root=... [worst=DIR]`.

The scores of all images and of every class at each of `sizes`; then, at `size`, those of groups of faces (glasses,
hats, dark photos, ...) beside those of all other faces, and the images that the network does worst on.

`worst=DIR` draws these: photo, truth and prediction. They are CelebAMask-HQ's faces, which may not be published,
committed or passed on; the JSON file holds ids and scores only.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from benchmarks.card.contrast import FEWEST, FEWEST_WITH
from benchmarks.card.groups import place_all
from benchmarks.card.passes import Network, Parsed, count_images, parse, score
from benchmarks.card.report import count_shared, groups_table, report_group, report_worst, scores_table, worst_lines
from benchmarks.card.sheets import Shown, write_pictures
from benchmarks.card.worst import class_f1, image_scores, rank
from facekp.checks import expand, require
from facekp.cli import parse_cli
from facekp.config import DataConfig
from facekp.data.datamodule import FaceDataModule
from facekp.data.layout import SPLITS
from facekp.errors import one_line_errors
from facekp.evaluate import load_scorer
from facekp.folder import make_folder, replacing
from facekp.machine import describe_machine, keep_freed_memory, list_versions
from facekp.weights import CKPT_HELP, SHIPPED, locate


@dataclass
class Settings:
    """Which network, on which faces."""

    ckpt: str = field(default=SHIPPED, metadata={"help": CKPT_HELP})
    data: DataConfig = field(default_factory=lambda: DataConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = field(default="val", metadata={"help": "train, val or test"})
    images: int | None = field(default=None, metadata={"help": "only the first so many; null: all"})
    size: int = field(default=512, metadata={"help": "side in pixels at which groups and the worst are scored"})
    sizes: list[int] = field(default_factory=lambda: [448, 512], metadata={"help": "sides for the scores of all"})
    resamples: int = field(default=2000, metadata={"help": "of the bootstrap that gives the intervals"})
    seed: int = field(default=0, metadata={"help": "of the bootstrap"})
    pictures: int = field(default=40, metadata={"help": "how many of the worst images are listed and drawn"})
    worst: str | None = field(
        default=None,
        metadata={"help": "folder for pictures of the worst: licensed faces, never publish or commit them; null: none"},
    )
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    out: str = field(default="benchmarks/card.json", metadata={"help": "file for the figures"})

    def __post_init__(self) -> None:
        """Check values."""
        require("split", self.split, self.split in SPLITS, f"choose one of {', '.join(SPLITS)}")
        require("images", self.images, self.images is None or self.images >= 1, "give at least 1, or null")
        for name, sides in (("size", [self.size]), ("sizes", self.sizes)):
            fit = bool(sides) and all(side >= 32 and side % 32 == 0 for side in sides)
            require(name, getattr(self, name), fit, "give multiples of 32, such as 512")
        require("resamples", self.resamples, self.resamples >= 100, "give at least 100")
        require("seed", self.seed, self.seed >= 0, "give 0 or more")
        require("pictures", self.pictures, self.pictures >= 1, "give at least 1")


def load(settings: Settings, size: int) -> FaceDataModule:
    """Return the labelled faces, to be parsed at `size`."""
    data = FaceDataModule(replace(settings.data, size=size), seed=0, total_steps=0)
    data.setup(settings.split)
    data.samples[settings.split] = data.samples[settings.split][: settings.images]
    return data


def measure(settings: Settings, net: Network, device: torch.device) -> dict[str, Any]:
    """Return all figures, and draw the worst images where `worst` is set."""

    def parsed(data: FaceDataModule) -> Iterator[Parsed]:
        return parse(net, data.evaluation_loader(settings.split), device)

    faces = {side: load(settings, side) for side in sorted({*settings.sizes, settings.size})}
    counts = {side: count_images(parsed(data)) for side, data in faces.items()}
    data, confusions = faces[settings.size], counts[settings.size]
    samples = data.samples[settings.split]
    placed = place_all(samples)
    f1 = class_f1(confusions)
    worst = rank(image_scores(f1), settings.pictures)
    report = report_worst([sample.id for sample in samples], f1, worst, placed)
    if settings.worst:
        data.samples[settings.split] = [samples[i] for i in worst]
        write_pictures(expand(settings.worst), list(show(parsed(data), report["images"])))
    bootstrap = {"resamples": settings.resamples, "seed": settings.seed}
    return {
        "images": len(samples),
        "scores": {str(side): score(counts[side]) for side in settings.sizes},
        "size": settings.size,
        "bootstrap": bootstrap,
        "fewest": {"images": FEWEST, "images_with_a_class": FEWEST_WITH},
        "groups": [report_group(one, confusions, worst, **bootstrap) for one in placed],
        "shared": count_shared(placed),
        "worst": report,
    }


def show(parsed: Iterator[Parsed], images: Sequence[dict[str, Any]]) -> Iterator[Shown]:
    """Yield what is drawn of the worst images, from what was parsed of them and what is said about them."""
    faces = (face for batch in parsed for face in zip(*batch, strict=True))
    for number, (image, face) in enumerate(zip(images, faces, strict=True), 1):
        photo, truth, mask = (pixels.cpu().numpy().astype(np.uint8) for pixels in face)
        title = f"{number}. {image['id']}: {image['score']:.3f}   {', '.join(image['groups'])}"
        lost = [f"{name} {value:.2f}" for name, value in image["lost"].items()]
        yield Shown(photo, truth, mask, title, f"lost: {', '.join(lost) or 'nothing'}")


def main(argv: Sequence[str]) -> None:
    """Measure, print and write."""
    keep_freed_memory()
    settings = parse_cli(Settings, argv, program="python -m benchmarks.card", about=__doc__ or "")
    out, ckpt = expand(settings.out), locate(settings.ckpt)
    net, _, device = load_scorer(str(ckpt), settings.backend, settings.device)
    # Before the minutes that it takes.
    for folder in (out.parent, *([expand(settings.worst)] if settings.worst else [])):
        make_folder(folder)
    figures = measure(settings, net, device)
    content = {
        "machine": describe_machine(),
        "versions": list_versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "ckpt": ckpt.name,
        "sha256": hashlib.sha256(ckpt.read_bytes()).hexdigest(),
        "split": settings.split,
        **figures,
    }
    with replacing(out) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(scores_table(figures["scores"]), groups_table(figures["groups"]), worst_lines(figures["worst"]), sep="\n\n")
    print(f"\n{figures['images']} images of {settings.split}; written to {out}")
    if settings.worst:
        print(f"pictures in {expand(settings.worst)}: licensed faces, to be looked at and not passed on")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

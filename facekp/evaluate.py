"""Evaluation of a network on labelled faces: `facekp evaluate [ckpt=...] data.root=... split=val`."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from facekp.classes import Classes
from facekp.cli import parse_cli
from facekp.config import ScoringConfig
from facekp.data.class_sets import NAMED, map_classes, read_target
from facekp.data.layout import SPLITS, check_source, source_classes
from facekp.errors import require, run_command
from facekp.files import OVERWRITE, begins_with, expand, keep_foreign, make_folder, write_file
from facekp.parsing.choices import TTA_HELP, Tta, is_onnx
from facekp.settings import Affects, Settings, check_that, multiple_of, one_of, setting
from facekp.weights.paths import CHECKPOINTS, CKPT_HELP, SHIPPED, TERMS, locate_checkpoint, require_file

if TYPE_CHECKING:
    from facekp.parsing.foreign import Foreign
    from facekp.training.metrics import Scorer


THREE = check_that(lambda values: len(values) == 3, "three numbers", [0.5, 0.5, 0.5])
POSITIVE = check_that(lambda values: len(values) == 3 and min(values) > 0, "three positive numbers", [0.5, 0.5, 0.5])


@dataclass
class EvaluateConfig(Settings):
    """The network to score, and the faces to score it on."""

    ckpt: str = setting(SHIPPED, CKPT_HELP, path=True)
    data: ScoringConfig = field(default_factory=lambda: ScoringConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = setting("val", "split to score on: train, val or test", check=one_of(*SPLITS))
    size: int | None = setting(None, "side of the images, pixels; null: as in training", check=multiple_of(32))
    map: dict[str, str] = setting({}, "the data set's names for the network's classes, if they differ: {eye_g: skin}")
    ids: str | None = setting(
        None, f"for an ONNX file of another parser, the ids of its classes: {', '.join(NAMED)}, or a file", path=True
    )
    mean: list[float] | None = setting(None, "for such a file, mean of the channels, 0..1; null: ImageNet's", THREE)
    std: list[float] | None = setting(None, "for such a file, their standard deviation; null: ImageNet's", POSITIVE)
    tta: str = setting("none", f"{TTA_HELP}; without a loss", check=one_of(Tta))
    backend: str = setting("auto", "torch for .ckpt; onnx or openvino for .onnx; auto", affects=Affects.MACHINE)
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...", affects=Affects.MACHINE)
    out: str = setting("metrics.json", "file to write the scores to", affects=Affects.PLACE, path=True)
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)

    def __post_init__(self) -> None:
        """Check the values, and refuse to overwrite a run folder's own summary."""
        super().__post_init__()
        out = expand(self.out)
        own = out.name == "metrics.json" and (out.parent / CHECKPOINTS).is_dir()
        require("out", self.out, not own, "a run's own summary has this name: use another")
        require("ids", self.ids, self.ids is None or is_onnx(self.ckpt), "for an ONNX file; give one as ckpt")


def load_scorer(path: str, backend: str, device: str, foreign: "Foreign | None" = None) -> "Scorer":
    """Return the scorer of a checkpoint in float32, or of an ONNX file (no auxiliary heads, so no loss).

    `foreign` describes a file that `facekp.export` did not write.
    """
    import torch

    from facekp.hardware import resolve_device
    from facekp.models import Heads
    from facekp.parsing.backends import open_backend
    from facekp.parsing.foreign import ForeignBackend
    from facekp.training.metrics import Scorer, network_scorer
    from facekp.weights.load import load_network

    if not is_onnx(path) and backend in ("auto", "torch"):
        net, about = load_network(path)
        return network_scorer(net, about, resolve_device(device))
    runner = ForeignBackend(expand(path), foreign) if foreign else open_backend(path, device=device, backend=backend)

    def run(pixels: torch.Tensor) -> Heads:
        return Heads(tuple(torch.from_numpy(s).permute(0, 3, 1, 2) for s in runner(pixels.numpy())))

    return Scorer(run, runner.size, torch.device("cpu"), criterion=None, classes=runner.classes)


def scored_as(scorer: "Scorer", classes: Classes, mapping: Mapping[str, str]) -> "Scorer":
    """Return a scorer on labels of other classes, without a loss; see `map_classes` for `mapping`.

    Raises:
        ConfigError: a class of the network's that the labels do not have and that is not mapped.
    """
    import torch

    own = scorer.classes.names
    _, ids = map_classes(scorer.classes, mapping, classes)
    renamed = [f"{name} as {classes.names[i]}" for name, i in zip(own, ids, strict=True) if name != classes.names[i]]
    print(f"scored as the data set's classes: {', '.join(renamed) or 'in another order'}\n")
    return replace(scorer, classes=classes, ids=torch.tensor(ids, device=scorer.device), criterion=None)


def main(argv: list[str]) -> None:
    """Print the overall and per-class scores, and write them."""
    config = parse_cli(EvaluateConfig, argv, program="facekp evaluate", about=f"{__doc__}\n\n{TERMS}")
    require_file(locate_checkpoint(config.ckpt))
    out = expand(config.out)
    mark = rb'\{\s+"loss": [^,]+,.{,999}"pixel_accuracy": '
    keep_foreign({out: begins_with(mark)}, overwrite=config.overwrite)
    check_source(config.data)
    from tabulate import tabulate

    from facekp.data.audit.order import check_order
    from facekp.data.datamodule import FaceDataModule
    from facekp.data.normalisation import MEAN, STD
    from facekp.hardware import keep_freed_memory
    from facekp.parsing.foreign import Foreign
    from facekp.parsing.tta import flipped

    keep_freed_memory()
    make_folder(out.parent)
    foreign = Foreign(read_target(config.ids, "ids"), config.mean or MEAN, config.std or STD) if config.ids else None
    scorer = load_scorer(config.ckpt, config.backend, config.device, foreign)
    if config.tta == "flip":
        scorer = replace(scorer, run=flipped(scorer.run, scorer.classes), criterion=None)
    if config.map or source_classes(config.data).names != scorer.classes.names:
        scorer = scored_as(scorer, source_classes(config.data), config.map)
    data = FaceDataModule(config.data.at_size(config.size or scorer.size), seed=0, total_steps=0)
    check_order(data.split(config.split))
    scores = scorer(data.evaluation_loader(config.split))
    overall = [(name, scores[name]) for name in ("loss", "miou", "mean_f1", "pixel_accuracy")]
    classes = [(name, scores["iou"][name], scores["f1"][name]) for name in scorer.classes.names]
    print(tabulate(overall, tablefmt="plain", floatfmt=".4f", missingval="none"), end="\n\n")
    print(tabulate(classes, ["class", "IoU", "F1"], tablefmt="simple", floatfmt=".4f", missingval="absent"))
    write_file(out, json.dumps(scores, indent=2) + "\n")
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    run_command(main)

"""Weights alone, with their scores: `facekp release ckpt=... data.root=... out=NAME.safetensors`.

The written weights are read again and scored on the validation split; NAME.json holds those scores.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import MISSING

from facekp.classes import Classes
from facekp.cli import parse_cli
from facekp.config import Config, ScoringConfig, fold
from facekp.data.layout import SPLITS, check_source, require_classes
from facekp.errors import run_command
from facekp.files import OVERWRITE, expand, keep_foreign, make_folder
from facekp.settings import Affects, Settings, at_least, check_that, multiple_of, one_of, setting, walk
from facekp.weights.paths import SAFETENSORS, is_safetensors, locate_checkpoint, require_file


@dataclass
class ReleaseSettings(Settings):
    """Which checkpoint to release, and how to score it."""

    ckpt: str = setting(MISSING, "RUN/checkpoints/best.ckpt", path=True)
    average: list[str] = setting([], "checkpoints to average ckpt with; one that is named twice counts twice")
    out: str = setting(
        MISSING,
        "NAME.safetensors; NAME.json is written beside it",
        check_that(is_safetensors, f"a path that ends in {SAFETENSORS}", why="prediction recognises the file by it"),
        affects=Affects.PLACE,
        path=True,
    )
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)
    size: int | None = setting(None, "side of photos, pixels; null: as trained", multiple_of(32))
    terms: str | None = setting(None, "terms of use of the weights; null: those of the weights that init named, if any")
    dataset: str | None = setting(None, "name of the data set, for the model card")
    data: ScoringConfig = field(default_factory=lambda: ScoringConfig(root=os.environ.get("FACEKP_DATA")))
    split: str = setting("val", "split to score on: train, val or test", one_of(*SPLITS))
    offsets: int = setting(0, "training images to fit a constant for each class's score on", at_least(0))
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...", affects=Affects.MACHINE)


def main(argv: list[str]) -> None:
    """Release the checkpoint that `argv` names, and print its size and scores."""
    settings = parse_cli(ReleaseSettings, argv, program="facekp release", about=__doc__ or "")
    scores = write_scored_weights(settings)["scores"]
    megabytes = expand(settings.out).stat().st_size / 1e6
    print(f"{settings.out}: {megabytes:.1f} MB, for images of {scores['size']} pixels")
    print(f"{settings.split}: mIoU {scores['miou']:.4f}, mean F1 {scores['mean_f1']:.4f}")


def write_scored_weights(settings: ReleaseSettings) -> dict[str, Any]:
    """Write the weights of a training checkpoint and their description, and return the description.

    Raises:
        CheckpointError: `ckpt` is not a training checkpoint.
        DataError: the data set cannot be used, or `out` cannot be written.
    """
    for checkpoint in (settings.ckpt, *settings.average):
        require_file(locate_checkpoint(checkpoint))
    check_source(settings.data)
    import torch  # these take seconds to import

    from facekp.data.datamodule import FaceDataModule
    from facekp.export.class_offsets import add_offsets, fit_offsets, sample_scores
    from facekp.hardware import keep_freed_memory, resolve_device
    from facekp.training.folder import ANY_TIME, SETTINGS
    from facekp.training.metrics import network_scorer
    from facekp.weights.checkpoint import describe, read_checkpoint, write_weights, written_files
    from facekp.weights.load import average_with, load_network

    keep_freed_memory()
    out = expand(settings.out)
    keep_foreign(written_files(out), overwrite=settings.overwrite)
    make_folder(out.parent)  # before the minutes of scoring
    content = read_checkpoint(expand(settings.ckpt))
    device = resolve_device(settings.device)
    net, about = load_network(settings.ckpt)
    average_with(net, settings.average)
    classes = Classes.from_plain(about["classes"])
    terms = settings.terms or about.get("terms")
    about = describe(about["model"], settings.size or int(about["size"]), about.get("loss"), classes)
    data = FaceDataModule(settings.data.at_size(about["size"]), seed=0, total_steps=0)
    require_classes(settings.data, classes, settings.ckpt)
    images = len(data.split(settings.split))
    about |= {key: said for key, said in (("terms", terms), ("dataset", settings.dataset)) if said}
    elsewhere = ANY_TIME | {found.key for found in walk(Config) if found.path}  # meaningless on another machine
    trained = {name: value for name, value in fold(content.get(SETTINGS, {})).items() if name not in elsewhere}
    about["trained"] = {"steps": int(content["global_step"]), "settings": trained}
    if settings.average:
        about["averaged"] = 1 + len(settings.average)
    if settings.offsets:
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        offsets = fit_offsets(*sample_scores(net, data.evaluation_loader("train", settings.offsets), device))
        add_offsets(net, offsets.to(device))
        values = {name: round(float(value), 2) for name, value in zip(classes.names, offsets, strict=True)}
        about["offsets"] = {"images": min(settings.offsets, len(data.split("train"))), "values": values}
    with TemporaryDirectory() as folder:  # earlier files stay until everything is computed
        path = Path(folder) / f"stored{SAFETENSORS}"
        write_weights(net, about, path)
        stored = network_scorer(load_network(path)[0], about, device)
    scores = stored(data.evaluation_loader(settings.split))
    about["scores"] = {"split": settings.split, "images": images, "size": about["size"], **scores}
    write_weights(net, about, out)
    return about


if __name__ == "__main__":
    run_command(main)

"""Writing weights alone, with what they were trained on and the scores they reach."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from facekp.classes import ATTRIBUTES
from facekp.config import Config, fold
from facekp.data.datamodule import FaceDataModule
from facekp.export.class_offsets import add_offsets, fit_offsets, sample_scores
from facekp.export.settings import ReleaseSettings
from facekp.files import expand, make_folder
from facekp.hardware import keep_freed_memory, resolve_device
from facekp.settings import walk
from facekp.training.folder import ANY_TIME
from facekp.training.resume import SETTINGS
from facekp.training.scoring import network_scorer
from facekp.weights.checkpoint import describe, read_checkpoint, write_weights
from facekp.weights.load import load_network
from facekp.weights.paths import SAFETENSORS

PLACES: Final = frozenset(found.key for found in walk(Config) if found.path)
"""Settings that mean nothing on another machine."""


def write_scored_weights(settings: ReleaseSettings) -> dict[str, Any]:
    """Write the weights of a checkpoint of training, and their description.

    Returns:
        The description, with the scores under "scores".

    Raises:
        CheckpointError: `ckpt` is not a checkpoint of training.
        DataError: the data set cannot be used, or `out` cannot be written.
    """
    keep_freed_memory()
    make_folder(expand(settings.out).parent)  # before the minutes of scoring
    content = read_checkpoint(expand(settings.ckpt))
    device = resolve_device(settings.device)
    net, about = load_network(settings.ckpt)
    about = describe(about["model"], settings.size or int(about["size"]), about.get("loss"))
    data = FaceDataModule(settings.data.at_size(about["size"]), seed=0, total_steps=0)
    images = len(data.split(settings.split))
    if settings.terms:
        about["terms"] = settings.terms
    trained = {name: value for name, value in fold(content.get(SETTINGS, {})).items() if name not in ANY_TIME | PLACES}
    about["trained"] = {"steps": int(content["global_step"]), "settings": trained}
    if settings.offsets:
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        offsets = fit_offsets(*sample_scores(net, data.evaluation_loader("train", settings.offsets), device))
        add_offsets(net, offsets.to(device))
        values = {name: round(float(value), 2) for name, value in zip(ATTRIBUTES, offsets, strict=True)}
        about["offsets"] = {"images": min(settings.offsets, len(data.split("train"))), "values": values}
    with TemporaryDirectory() as folder:  # earlier files stay until everything is computed
        path = Path(folder) / f"stored{SAFETENSORS}"
        write_weights(net, about, path)
        stored = network_scorer(load_network(path)[0], about, device)
    scores = stored(data.evaluation_loader(settings.split))
    about["scores"] = {"split": settings.split, "images": images, "size": about["size"], **scores}
    write_weights(net, about, expand(settings.out))
    return about

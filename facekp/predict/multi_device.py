"""Parsing photos on several devices: one process per device, each with its own network and share of the photos."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from facekp.errors import ConfigError, FacekpError
from facekp.parsing.choices import Align, is_onnx
from facekp.predict.pipeline import Job, open_parser, parse_files
from facekp.predict.results import Results
from facekp.predict.settings import PredictSettings
from facekp.weights.checkpoint import read_checkpoint, read_weights
from facekp.weights.paths import is_safetensors, locate_checkpoint


def device_names(settings: PredictSettings, count: int) -> list[str]:
    """Return the device of each of `count` processes.

    Raises:
        ConfigError: more GPUs than the machine has, or several devices and the number of one.
    """
    device = settings.device
    if count <= 1:
        return [device]
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device is '{device}' and devices is {count}: take device=cuda or cpu")
    if device == "cpu" or is_onnx(settings.ckpt) or (device == "auto" and not torch.cuda.is_available()):
        return ["cpu"] * count
    if (gpus := torch.cuda.device_count()) < count:
        raise ConfigError(f"devices is {count}, and this machine has {gpus} GPUs: take fewer")
    return [f"cuda:{rank}" for rank in range(count)]


def require_checkpoint(ckpt: str) -> None:
    """Raise CheckpointError unless `ckpt` can be read; the network is left to the processes that run it."""
    path = locate_checkpoint(ckpt)
    if is_safetensors(path):
        read_weights(path)
    elif not is_onnx(path):
        read_checkpoint(path)


def parse_on_devices(
    settings: PredictSettings, jobs: Sequence[Job], results: Results, devices: Sequence[str]
) -> list[str]:
    """Parse each photo once, in one process per device; each writes the results of its share.

    Returns:
        One message for each photo that was skipped, by any process.

    Raises:
        FacekpError: the error of a process, which ends the others.
    """
    with TemporaryDirectory() as name:
        folder, count = Path(name), len(devices)
        try:
            spawn(_parse_share, (settings, jobs, results, devices, folder), nprocs=count)  # type: ignore[no-untyped-call]
        except ProcessExitedException as error:
            reasons = [path.read_text("utf-8") for path in sorted(folder.glob("*.error"))]
            raise FacekpError(reasons[0] if reasons else f"devices is {count}: {error}; take fewer") from error
        shares = [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in range(count)]
    return [failure for share in shares for failure in share]


def _parse_share(
    rank: int, settings: PredictSettings, jobs: Sequence[Job], results: Results, devices: Sequence[str], folder: Path
) -> None:
    """Parse the photos of one process, and leave its failures, or the error that ended it, in `folder`."""
    if devices[rank] == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // len(devices)))
    try:
        parser = open_parser(settings, devices[rank])
        own = jobs[rank :: len(devices)]
        failures = parse_files(parser, own, results, cast(Align, settings.align), progress=rank == 0)
    except FacekpError as error:
        (folder / f"{rank}.error").write_text(str(error), "utf-8")
        sys.exit(2)
    (folder / f"{rank}.json").write_text(json.dumps(failures), "utf-8")

"""Parsing photos on several devices: one process per device, each with its own network and share of the photos."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch

from facekp.data.prepare.workers import run_in_processes
from facekp.errors import ConfigError
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
    parse = partial(_parse_share, settings, jobs, results, devices)
    shares = run_in_processes(parse, range(len(devices)), len(devices), chunk=1, setting="devices")
    return [failure for share in shares for failure in share]


def _parse_share(
    settings: PredictSettings, jobs: Sequence[Job], results: Results, devices: Sequence[str], rank: int
) -> list[str]:
    """Parse every `len(devices)`-th photo, and return messages as `parse_files` does."""
    if devices[rank] == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads() // len(devices)))
    parser = open_parser(settings, devices[rank])
    return parse_files(parser, jobs[rank :: len(devices)], results, cast(Align, settings.align), progress=rank == 0)

"""One run of predict.py: photos on one or several devices, then videos."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import cast

from facekp.classes import Classes
from facekp.data.prepare.workers import run_in_processes
from facekp.errors import ConfigError
from facekp.files import expand, keep_foreign
from facekp.formats.regions import Alpha
from facekp.hardware import cpu_threads, keep_freed_memory, resolve_accelerator
from facekp.keypoints.landmarks.groups import LANDMARKS
from facekp.parsing.alignment import require_parts
from facekp.parsing.backends import open_backend
from facekp.parsing.choices import Align, is_onnx
from facekp.predict.pipeline import Job, list_jobs, open_parser, parse_files
from facekp.predict.results import Results
from facekp.predict.settings import PredictSettings
from facekp.predict.sources import Source, is_video, share, video_files


def predict(files: Sequence[Source], settings: PredictSettings) -> list[str]:
    """Parse photos, videos and streams, write their results, and return one message for each file that was skipped.

    Raises:
        CheckpointError: see `FaceParser.from_checkpoint`.
        ConfigError: devices that this machine does not have, or settings that do not fit the checkpoint.
        DataError: the results cannot be written, or would replace files that facekp did not write.
    """
    keep_freed_memory()
    out, align = expand(settings.out), cast(Align, settings.align)
    every = list_jobs(files, out)
    own = set(share(files, settings.shard))
    jobs = [job for job in every if job.path in own]
    photos = [job for job in jobs if not is_video(job.path)]
    videos = [job for job in jobs if is_video(job.path)]
    devices = device_names(settings, min(settings.devices, len(photos)))  # each needs at least one photo
    # Opened before anything is written; of several processes, each opens its own.
    parser = open_parser(settings, devices[0]) if len(devices) == 1 else None
    if parser:
        classes = parser.stages.backend.classes
    elif is_onnx(settings.ckpt):
        classes = open_backend(settings.ckpt).classes
    else:
        from facekp.weights.load import load_network  # imports torch

        classes = Classes.from_plain(load_network(settings.ckpt)[1]["classes"])
    if align == "auto":
        require_parts(classes)
    if lacking := [part for part in LANDMARKS if not classes.ids(part)]:
        print(f"landmarks: none of {', '.join(lacking)}, which no class of these weights shows", file=sys.stderr)
    options, overlay = settings.formats_of(classes), "overlay" in settings.export
    mattes = Alpha.open(options) if "alpha" in settings.export else []
    export = settings.export if not all(map(is_video, files)) else ()
    results = Results(out, export, options, settings.shard)
    regions = [matte.region for matte in mattes]
    clips = video_files([job.stem for job in videos], overlay=overlay, regions=regions)
    keep_foreign(results.files([job.stem for job in photos]) | clips, overwrite=settings.overwrite)
    with results.claimed():
        if parser:
            failures = parse_files(parser, photos, results, align)
        else:
            parse = partial(_parse_share, settings, photos, results, devices)
            shares = run_in_processes(parse, range(len(devices)), len(devices), chunk=1, setting="devices")
            failures = [failure for share in shares for failure in share]
        results.finish([job.stem for job in photos], len(failures), [job.stem for job in every])
    if videos:
        from facekp.predict.videos import parse_videos  # PyAV is an extra

        if ignored := [name for name in settings.export if name not in ("mask", "overlay", "json", "alpha")]:
            print(f"export: {', '.join(ignored)}: photos only; videos get .jsonl, overlay and alpha", file=sys.stderr)
        parser = parser or open_parser(settings, settings.device)
        smoothing = settings.one_euro if settings.smooth else None
        failures += parse_videos(parser, videos, smoothing, align, overlay=overlay, mattes=mattes)
    return failures


def device_names(settings: PredictSettings, count: int) -> list[str]:
    """Return the device of each of `count` processes.

    Raises:
        ConfigError: more GPUs than the machine has, or several devices with a numbered one.
    """
    device = settings.device
    if count <= 1:
        return [device]
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device is '{device}' and devices is {count}: use device=cuda or cpu")
    if is_onnx(settings.ckpt) or resolve_accelerator(device) == "cpu":
        return ["cpu"] * count
    import torch

    if (gpus := torch.cuda.device_count()) < count:
        raise ConfigError(f"devices is {count}, but this machine has {gpus} GPUs: use fewer")
    return [f"cuda:{rank}" for rank in range(count)]


def _parse_share(
    settings: PredictSettings, jobs: Sequence[Job], results: Results, devices: Sequence[str], rank: int
) -> list[str]:
    """Parse every `len(devices)`-th photo, and return messages as `parse_files` does."""
    if devices[rank] == "cpu":
        import torch

        torch.set_num_threads(max(1, cpu_threads() // len(devices)))  # of onnxruntime and OpenVINO, too
    parser = open_parser(settings, devices[rank])
    return parse_files(parser, jobs[rank :: len(devices)], results, cast(Align, settings.align), progress=rank == 0)

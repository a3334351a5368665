"""One run of predict.py: photos on one or several devices, then videos."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from facekp.files import expand
from facekp.hardware import keep_freed_memory
from facekp.parsing.choices import Align
from facekp.predict.multi_device import device_names, parse_on_devices, require_checkpoint
from facekp.predict.pipeline import list_jobs, open_parser, parse_files
from facekp.predict.results import Results
from facekp.predict.settings import PredictSettings
from facekp.predict.sources import is_video

OF_VIDEOS: Final = ("mask", "overlay", "json")
"""Formats that are not reported as ignored for a video, which gets lines of JSON and an annotated clip."""


def predict(files: Sequence[Path], settings: PredictSettings) -> list[str]:
    """Parse photos and videos, write their results, and return one message for each file that was skipped.

    Raises:
        CheckpointError: see `FaceParser.from_checkpoint`.
        ConfigError: devices that this machine does not have, or settings that do not fit the checkpoint.
        DataError: the results cannot be written.
    """
    keep_freed_memory()
    out, align = expand(settings.out), cast(Align, settings.align)
    jobs = list_jobs(files, out)
    photos = [job for job in jobs if not is_video(job.path)]
    videos = [job for job in jobs if is_video(job.path)]
    devices = device_names(settings, min(settings.devices, len(photos)))  # each needs a photo of its own
    if len(devices) == 1:
        parser = open_parser(settings, devices[0])
        results = Results(out, settings.export)
        failures = parse_files(parser, photos, results, align)
    else:
        require_checkpoint(settings.ckpt)  # before anything is written
        parser, results = None, Results(out, settings.export)
        failures = parse_on_devices(settings, photos, results, devices)
    if photos:
        results.finish([job.stem for job in photos])
    if videos:
        from facekp.predict.videos import parse_videos  # PyAV is an extra

        if ignored := [name for name in settings.export if name not in OF_VIDEOS]:
            print(f"export: {', '.join(ignored)} are for photos; a video gets .jsonl and overlay", file=sys.stderr)
        parser = parser or open_parser(settings, settings.device)
        smoothing = settings.one_euro if settings.smooth else None
        failures += parse_videos(parser, videos, smoothing, align, overlay="overlay" in settings.export)
    return failures

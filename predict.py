"""Masks and key points of photos and videos: `python predict.py source=FILE out=FOLDER [ckpt=FILE]`."""

import sys
from typing import cast

from facekp.cli import parse_cli
from facekp.errors import one_line_errors
from facekp.files import expand
from facekp.hardware import keep_freed_memory
from facekp.parsing.choices import Align
from facekp.parsing.parser import FaceParser
from facekp.predict.pipeline import list_jobs, parse_files
from facekp.predict.results import Results
from facekp.predict.sources import PredictConfig, find_images, is_video, require_pyav
from facekp.weights.paths import TERMS


def main(argv: list[str]) -> int:
    """Parse what `argv` names; return 1 if any file was skipped."""
    keep_freed_memory()
    config = parse_cli(PredictConfig, argv, program="python predict.py", about=f"{__doc__}\n\n{TERMS}")
    files = find_images(config.source)
    require_pyav(files)
    parser = FaceParser.from_checkpoint(
        config.ckpt,
        device=config.device,
        backend=config.backend,
        keypoints=config.keypoints,
        detector=config.detector,
    )
    align = cast(Align, config.align)
    results = Results(expand(config.out), config.export)
    jobs = list_jobs(files, results.out)
    photos = [job for job in jobs if not is_video(job.path)]
    failures: list[str] = []
    # Each process needs an image of its own.
    devices = min(config.devices, len(photos))
    if devices > 1:
        from facekp.predict.multi_device import parse_files_sharded  # Lightning takes seconds to import

        failures, tells = parse_files_sharded(config, photos, devices, results)
        if not tells:
            return 0  # a child that ends otherwise would have Lightning kill the process that tells
    elif photos:
        failures = parse_files(parser, photos, results, align)
    if photos:
        results.finish([job.stem for job in photos])
    if len(photos) < len(jobs):
        from facekp.predict.videos import parse_videos  # PyAV is an extra

        videos = [job for job in jobs if is_video(job.path)]
        if ignored := [name for name in config.export if name not in ("mask", "overlay", "json")]:
            print(f"export: {', '.join(ignored)} are of photos; a video gets .jsonl and overlay", file=sys.stderr)
        smoothing = config.one_euro if config.smooth else None
        failures += parse_videos(parser, videos, smoothing, align, overlay="overlay" in config.export)
    print(f"{len(files) - len(failures)} of {len(files)} parsed; results in {config.out}")
    if failures:
        print(f"error: {len(failures)} skipped, the first: {failures[0]}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))

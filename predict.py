"""Masks and key points of photos: `python predict.py ckpt=RUN/checkpoints/best.ckpt source=PHOTO out=DIR`."""

import sys

from facekp.cli import parse_cli
from facekp.config import expand
from facekp.errors import one_line_errors
from facekp.machine import keep_freed_memory
from facekp.parser import FaceParser
from facekp.pipeline import list_jobs, parse_files
from facekp.prediction import PredictConfig, find_images
from facekp.results import Results


def main(argv: list[str]) -> int:
    """Parse what `argv` names; return 1 if any file was skipped."""
    keep_freed_memory()
    config = parse_cli(PredictConfig, argv, program="python predict.py", about=__doc__ or "")
    images = find_images(config.source)
    parser = FaceParser.from_checkpoint(config.ckpt, config.device, config.backend, config.keypoints)
    results = Results(expand(config.out), config.export)
    jobs = list_jobs(images, results.out)
    # Each process needs an image of its own.
    devices = min(config.devices, len(jobs))
    if devices == 1:
        failures = parse_files(parser, jobs, results)
    else:
        from facekp.sharded import parse_files_sharded  # Lightning takes seconds to import

        failures, tells = parse_files_sharded(config, jobs, devices, results)
        if not tells:
            return 0  # a child that ends otherwise would have Lightning kill the process that tells
    results.finish([job.stem for job in jobs])
    print(f"{len(images) - len(failures)} of {len(images)} parsed; results in {config.out}")
    if failures:
        print(f"error: {len(failures)} skipped, the first: {failures[0]}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))

"""Masks and key points of photos: `python predict.py ckpt=RUN/checkpoints/best.ckpt source=PHOTO out=DIR`."""

import sys
from typing import cast

from facekp.cli import parse_cli
from facekp.config import expand
from facekp.errors import one_line_errors
from facekp.folder import make_folder
from facekp.parser import Align, FaceParser
from facekp.pipeline import list_jobs, parse_files
from facekp.prediction import PredictConfig, find_images


def main(argv: list[str]) -> int:
    """Parse what `argv` names; return 1 if any file was skipped."""
    config = parse_cli(PredictConfig, argv, program="python predict.py", about=__doc__ or "")
    images = find_images(config.source)
    parser = FaceParser.from_checkpoint(config.ckpt, config.device, config.backend, config.keypoints, config.detector)
    jobs = list_jobs(images, make_folder(expand(config.out)))
    # Each process needs an image of its own.
    devices = min(config.devices, len(jobs))
    if devices == 1:
        outcome = parse_files(parser, jobs, align=cast(Align, config.align), overlay=config.overlay)
    else:
        from facekp.sharded import parse_files_sharded  # Lightning takes seconds to import

        outcome, tells = parse_files_sharded(config, jobs, devices)
        if not tells:
            return 0  # a child that ends otherwise would have Lightning kill the process that tells
    without = f", {len(outcome.faceless)} of them without a face" if outcome.faceless else ""
    print(f"{len(images) - len(outcome.skipped)} of {len(images)} parsed{without}; results in {config.out}")
    if outcome.skipped:
        print(f"error: {len(outcome.skipped)} skipped, the first: {outcome.skipped[0]}", file=sys.stderr)
    return 1 if outcome.skipped else 0


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))

"""Masks and key points of photos: `python predict.py ckpt=RUN/checkpoints/best.ckpt source=PHOTO out=DIR`."""

import sys

from facekp.cli import parse_cli
from facekp.config import expand
from facekp.errors import one_line_errors
from facekp.folder import make_folder
from facekp.parser import FaceParser
from facekp.prediction import PredictConfig, find_images, parse_files


def main(argv: list[str]) -> int:
    """Parse what `argv` names; return 1 if any file was skipped."""
    config = parse_cli(PredictConfig, argv, program="python predict.py", about=__doc__ or "")
    images = find_images(config.source)
    parser = FaceParser.from_checkpoint(config.ckpt, config.device, config.keypoints)
    out = make_folder(expand(config.out))
    failures = parse_files(parser, images, out, overlay=config.overlay)
    print(f"{len(images) - len(failures)} of {len(images)} parsed; results in {out}")
    if failures:
        print(f"error: {len(failures)} skipped, the first: {failures[0]}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))

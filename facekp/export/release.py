"""Weights alone, with their scores: `python -m facekp.export.release ckpt=... data.root=... out=NAME.safetensors`.

The written weights are read again and scored on the validation split; NAME.json holds those scores.
"""

import sys

from facekp.cli import parse_cli
from facekp.errors import one_line_errors
from facekp.export.settings import ReleaseSettings
from facekp.files import expand


def main(argv: list[str]) -> None:
    """Release the checkpoint that `argv` names, and print its size and scores."""
    program, about = "python -m facekp.export.release", (__doc__ or "").strip()
    settings = parse_cli(ReleaseSettings, argv, program=program, about=about)

    from facekp.export.scored_weights import write_scored_weights  # torch takes seconds to import

    scores = write_scored_weights(settings)["scores"]
    megabytes = expand(settings.out).stat().st_size / 1e6
    print(f"{settings.out}: {megabytes:.1f} MB, for images of {scores['size']} pixels")
    print(f"{settings.split}: mIoU {scores['miou']:.4f}, mean F1 {scores['mean_f1']:.4f}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

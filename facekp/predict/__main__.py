"""Masks and key points of photos and videos: `facekp predict source=FILE out=FOLDER [ckpt=FILE]`."""

import sys

from facekp.cli import parse_cli
from facekp.errors import printable, require, run_command
from facekp.files import expand
from facekp.formats.base import describe_formats
from facekp.hardware import import_large
from facekp.parsing.choices import is_onnx
from facekp.predict.settings import PredictSettings
from facekp.predict.sources import find_images, require_pyav, share
from facekp.weights.paths import TERMS, locate_checkpoint, require_file


def main(argv: list[str]) -> int:
    """Parse the files that `argv` names; return 1 if any of them was skipped."""
    about = f"{__doc__}\n\n{TERMS}\n\nFormats (export=, file, content):\n{describe_formats()}"
    settings = parse_cli(PredictSettings, argv, program="facekp predict", about=about)
    files = find_images(settings.source)
    own = share(files, settings.shard)
    require_pyav(own)
    require_file(locate_checkpoint(settings.ckpt))
    require("out", settings.out, not expand(settings.out).is_file(), "this is a file; give a folder")

    if not is_onnx(settings.ckpt):
        import_large("torch")
    import_large("facekp.predict.run")
    from facekp.predict.run import predict

    failures = predict(files, settings)
    where = f"; results in {settings.out}" if len(failures) < len(own) else ""
    print(f"{len(own) - len(failures)} of {len(own)} parsed{where}")
    if failures:
        print(f"error: {len(failures)} skipped, the first: {printable(failures[0])}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    run_command(main)

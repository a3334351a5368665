"""Masks and key points of photos and videos: `facekp predict source=FILE out=FOLDER [ckpt=FILE]`."""

import gc
import sys
from importlib import import_module

from facekp.cli import parse_cli
from facekp.errors import printable, require, run_command
from facekp.files import expand
from facekp.formats.base import describe_formats
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

    gc.disable()  # it would search torch's many objects several times while they are made
    if not is_onnx(settings.ckpt):
        import_module("torch")  # takes seconds
    from facekp.predict.run import predict

    gc.freeze()  # and again at exit; they live until then
    gc.enable()
    failures = predict(files, settings)
    where = f"; results in {settings.out}" if len(failures) < len(own) else ""
    print(f"{len(own) - len(failures)} of {len(own)} parsed{where}")
    if failures:
        print(f"error: {len(failures)} skipped, the first: {printable(failures[0])}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    run_command(main)

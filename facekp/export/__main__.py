"""Export a network to ONNX, in float32 or int8: `python -m facekp.export [ckpt=...] format=onnx`."""

import sys

from facekp.cli import parse_cli
from facekp.errors import one_line_errors
from facekp.export.settings import ExportSettings
from facekp.weights.paths import TERMS


def main(argv: list[str]) -> None:
    """Export the network that `argv` names."""
    program, about = "python -m facekp.export", f"{__doc__}\n\n{TERMS}"
    settings = parse_cli(ExportSettings, argv, program=program, about=about)

    from facekp.export.onnx import export_checkpoint  # torch takes seconds to import

    out, size = export_checkpoint(settings)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, {settings.precision}, for images of {size} pixels")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

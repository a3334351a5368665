"""Export a network to ONNX: `python -m facekp.export ckpt=... format=onnx`."""

import sys

from facekp.errors import one_line_errors
from facekp.export.onnx import main

if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

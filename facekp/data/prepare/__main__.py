"""Prepare an official CelebAMask-HQ folder: `python -m facekp.data.prepare raw=... out=...`."""

import sys

from facekp.data.prepare.build import main
from facekp.errors import one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])

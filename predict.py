"""Masks and key points of photos and videos: `python predict.py source=FILE out=FOLDER [ckpt=FILE]`.

The same as `python -m facekp.predict`.
"""

import sys

from facekp.errors import one_line_errors
from facekp.predict.__main__ import main

if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))

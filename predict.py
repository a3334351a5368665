"""Masks and key points of photos and videos: `python predict.py source=FILE out=FOLDER [ckpt=FILE]`.

The same as `python -m facekp.predict`.
"""

from facekp.errors import run_command
from facekp.predict.__main__ import main

if __name__ == "__main__":
    run_command(main)

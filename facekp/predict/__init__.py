"""Many files to results; predict.py is a command of this room.

In: photos and videos. Out: one file per photo and format, and a line per frame and an annotated clip per video.
Start with `run.py`.
"""

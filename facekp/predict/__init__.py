"""Prediction on many photos and videos; predict.py is the command.

In: photos and videos. Out: one file per photo and format, and a line per frame and an annotated clip per video.
Start with `run.py`.
"""

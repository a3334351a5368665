"""Conversion of data sets as published to the prepared layout.

In: photos and masks. Out: `images/`, `labels/`, `index.csv` and, unless they are CelebAMask-HQ's, `classes.json`.
Start with `build.py`.
"""

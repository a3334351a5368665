"""Conversion of the official CelebAMask-HQ folder to the prepared layout.

In: photos and one mask per class. Out: `images/`, `labels/` and `index.csv`.
Start with `build.py`.
"""

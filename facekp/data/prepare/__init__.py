"""The official CelebAMask-HQ folder turned into the prepared layout.

In: photos and one mask a class. Out: `images/`, `labels/` and `index.csv`.
Start with `build.py`.
"""

"""Faces from files to batches.

In: a CelebAMask-HQ folder, official or prepared. Out: batches of normalised images and label maps.
Start with `datamodule.py`.
"""

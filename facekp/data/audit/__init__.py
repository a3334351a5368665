"""The audit of a data set: damaged files, reversed sides, missing masks and duplicates.

In: a prepared data set. Out: `audit.csv`, which training can exclude images by, and `audit.html`.
Start with `run.py`; `findings.py` lists the kinds of findings.
"""

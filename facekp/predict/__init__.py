"""From many files to results: what `predict.py` calls.

In: photos and videos. Out: one file per photo and format.
Start with `pipeline.py`.
"""

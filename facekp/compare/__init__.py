"""Comparison of training runs.

In: run folders, sweeps, `metrics.json` files. Out: `comparison.html`, `.md`, `.csv` and `.svg`, and a verdict.
Start with `report.py`. Nothing is imported here, since every training run imports `callback.py`.
"""

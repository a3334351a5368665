"""Training of one run.

In: a checked `Config`. Out: a run folder with checkpoints, curves and `metrics.json`.
Start with `run.py`.
"""

"""Optimisers and learning-rate schedules, behind two registries.

In: a network and the `optim` settings. Out: an optimiser and its schedule.
Start with `build.py`; a new optimiser or schedule is one module here and one file in `conf/optim/`.
"""

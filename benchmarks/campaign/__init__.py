"""The campaign: kills, faults, damaged and hostile inputs; nothing may be lost, crash or hang.

In: a seed. Out: `benchmarks/campaign.json`, a row for each kind of trouble and a line for each failure.
Start with `__main__.py`; `world.py` makes the files that are tried on and says what counts as whole.
"""

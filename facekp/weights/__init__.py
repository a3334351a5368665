"""Checkpoints: reading, writing and loading them.

In: a path, or the name `shipped`. Out: a network and its description.
Start with `load.py`.
"""

"""Checkpoints: what a file says of itself, and loading it.

In: a path, or the name `shipped`. Out: a network and its description.
Start with `load.py`.
"""

"""Parsing one photo: finding and aligning its faces, running the network, tracing outlines.

In: a photo. Out: a list of `Face`.
Start with `parser.py`.
"""

"""From score maps to points.

In: scores per class. Out: outlines, key points and named landmarks.
Start with `outlines.py`.
"""

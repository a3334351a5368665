"""Tracing outlines in score maps, and placing key points and named landmarks.

In: score maps, or a mask. Out: outlines, key points and named landmarks.
Start with `outlines.py`.
"""

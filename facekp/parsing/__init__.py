"""From one photo to faces.

In: a photo. Out: a list of `Face`.
Start with `parser.py`.
"""

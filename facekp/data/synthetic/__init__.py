"""Drawn faces, for demos and tests; scores on them say nothing about real photos.

In: a seed. Out: a drawn face with its masks, or a data set of them in the official layout.
Start with `write.py`.
"""

REVISION = 3  # version in the name of every folder of drawn faces: increment it whenever a seed gives a different face

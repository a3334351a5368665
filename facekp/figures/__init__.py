"""The paper's figures 2, 3 and 4 of any photo.

In: a photo and a checkpoint. Out: the heads' scores, their surface and the key points as pictures.
Start with `draw.py`.
"""

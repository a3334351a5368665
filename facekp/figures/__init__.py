"""The paper's figures 2, 3 and 4 of any photo.

In: a photo and a checkpoint. Out: PNG, SVG or PDF files, or Matplotlib figures for programs and notebooks.
Start with `draw.py`; `inputs.py` reads what it draws.
"""

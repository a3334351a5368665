"""Data sets as their authors publish them, one module each.

In: a folder. Out: its images, masks, splits and classes, as a `DataSet`.
Start with `lapa.py`; a new data set is one module like it.
"""

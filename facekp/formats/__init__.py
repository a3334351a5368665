"""Export formats, selected by `export=[...]` of predict.py.

In: a photo and its faces. Out: the content of a file, which `facekp.predict.results` writes.
Start with `base.py`. A format is a class in a module of this package, which `FORMATS` discovers.
"""

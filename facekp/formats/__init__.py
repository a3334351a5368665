"""Export formats: what `export=[...]` of predict.py writes.

In: a photo and its faces. Out: the content of a file, which `facekp.predict.results` writes.
Start with `base.py`. A format is a class in a module of this room, which `FORMATS` discovers.
"""

"""Export formats: what `export=[...]` of predict.py writes.

In: a photo and its faces. Out: the content of a file, which `facekp.predict.results` writes.
Start with `base.py`. A format is a class in a module of this room, which `FORMATS` discovers.
"""

from facekp.formats.base import FORMATS, Format, Photo, RunFormat

__all__ = ["FORMATS", "Format", "Photo", "RunFormat", "all_formats", "describe_formats"]


def all_formats() -> dict[str, Format]:
    """Return every format by its name, in the order in which they are written."""
    return {name: FORMATS[name]() for name in sorted(FORMATS.names(), key=lambda name: FORMATS[name].last)}


def describe_formats() -> str:
    """Return one line per format: its name, its file and what the file holds."""
    return "\n".join(f"  {name:8}  {form.file:18}  {form.help}" for name, form in all_formats().items())

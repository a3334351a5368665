"""Export formats: what `export=[...]` of predict.py writes.

In: a photo and its faces. Out: the content of a file, which `facekp.predict.results` writes.
Start with `base.py`. A format is a class in a module of this room, which `discover` finds.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from facekp.formats.base import Format, Photo, RunFormat

__all__ = ["FORMATS", "Format", "Photo", "RunFormat", "describe_formats", "discover"]


def discover() -> dict[str, Format]:
    """Import the modules of this room, and return an instance of each format that they define, by name."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    classes = {*Format.__subclasses__(), *RunFormat.__subclasses__()} - {RunFormat}
    return {cls.name: cls() for cls in sorted(classes, key=lambda cls: (cls.last, cls.name))}


FORMATS: Final[Mapping[str, Format]] = discover()
"""Every format by its name, in the order in which they are written."""


def describe_formats() -> str:
    """Return one line per format: its name, its file and what the file holds."""
    return "\n".join(f"  {form.name:8}  {form.file:18}  {form.help}" for form in FORMATS.values())

"""Export formats: what `export=[...]` of predict.py writes.

In: a photo and its faces. Out: bytes, which `facekp.predict.results` writes to files.
Start with `base.py`. A format is a class in a module of this room; it is discovered here.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from facekp.formats.base import Format, Photo, PhotoFormat, RunFormat

__all__ = ["FORMATS", "Format", "Photo", "PhotoFormat", "RunFormat", "describe_formats", "discover"]


def discover() -> dict[str, Format]:
    """Import the modules of this room, and return an instance of each format that they define."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    found: list[Format] = [cls() for base in (PhotoFormat, RunFormat) for cls in base.__subclasses__()]
    return {form.name: form for form in sorted(found, key=lambda form: (form.last, form.name))}


FORMATS: Final[Mapping[str, Format]] = discover()
"""Every format by its name, in the order in which they are written."""


def describe_formats() -> str:
    """Return one line for each format: its name, its file and what that holds."""
    return "\n".join(f"  {form.name:8}  {form.result_name('NAME'):18}  {form.help}" for form in FORMATS.values())

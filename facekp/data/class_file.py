"""Class files: the `classes.json` of a data set."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from facekp.classes import CELEBAMASK_HQ, Classes, read_class_ids
from facekp.errors import DataError

CLASS_FILE: Final = "classes.json"


def read_classes(root: Path) -> Classes:
    """Return the classes of a prepared data set: those of its `classes.json`, or else CelebAMask-HQ's.

    Raises:
        DataError: the file is unusable, or its ids are not 0, 1, 2, ...
    """
    path = root / CLASS_FILE
    if not path.exists():
        return CELEBAMASK_HQ
    plain = read_class_file(path)
    with naming(path):
        classes = Classes.from_plain(plain)
        if plain != list(classes.names) and sorted(read_class_ids(plain).values()) != list(range(len(classes))):
            raise ValueError(f"ids are not 0 to {len(classes) - 1}, as in labels/: number them so, or prepare again")
    return classes


def read_class_file(path: Path) -> object:
    """Return the content of a class file, which `Classes.from_plain` reads.

    Raises:
        DataError: it cannot be read, is not JSON, or names something twice.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = Counter(name for name, _ in pairs)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"names '{twice[0]}' twice")
        return dict(pairs)

    with naming(path):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ValueError(f"cannot be read ({error.strerror})") from error
        return json.loads(text, object_pairs_hook=unique)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an error of a class file's content into a DataError that names the file."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error

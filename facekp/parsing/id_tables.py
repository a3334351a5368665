"""Tables of class ids: the mask in the ids of other data sets and networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import yaml  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.data.class_sets import ID_TABLES
from facekp.errors import ConfigError, did_you_mean
from facekp.files import expand
from facekp.images import UInt8Array

OWN: Final = "own"
"""The ids of the class set itself."""
HIGHEST: Final = 255


def read_ids(ids: str | Path | Mapping[str, int], classes: Classes = CELEBAMASK_HQ) -> dict[str, int]:
    """Return an id for every one of `classes`, in their order.

    Args:
        ids: "own", a table of `ID_TABLES` by name, a YAML or JSON file with such a table, or the table itself.
        classes: the class set.

    Raises:
        ConfigError: no such table or file, an unknown or missing class, or an id that is not an integer from 0 to 255.
    """
    if isinstance(ids, Mapping):
        return _checked(ids, "ids", classes)
    if str(ids) == OWN:
        return {name: i for i, name in enumerate(classes.names)}
    if str(ids) in ID_TABLES:
        known = {name: i for name, i in ID_TABLES[str(ids)].items() if name in classes.names}
        return _checked(known, f"ids is '{ids}'", classes)
    path = expand(str(ids))
    try:
        table = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        choices = f"{did_you_mean(str(ids), ID_TABLES)}choose one of {', '.join((OWN, *ID_TABLES))}, or name a file"
        raise ConfigError(f"ids is '{ids}': {choices}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not YAML or JSON"
        raise ConfigError(f"ids: file '{ids}' cannot be read ({reason}); give a table of class names and ids") from None
    if not isinstance(table, dict):
        raise ConfigError(f"ids: file '{ids}' is not a table; give one id per class, as in 'skin: 1'")
    return _checked(table, f"ids: file '{ids}'", classes)


def _checked(table: Mapping[str, int], where: str, classes: Classes) -> dict[str, int]:
    for name, i in table.items():
        if name not in classes.names:
            close, all_names = did_you_mean(str(name), classes.names), ", ".join(classes.names)
            raise ConfigError(f"{where}: no class is called '{name}': {close}the classes are {all_names}")
        if type(i) is not int or not 0 <= i <= HIGHEST:
            raise ConfigError(f"{where}: the id of {name} is {i!r}: give an integer from 0 to {HIGHEST}")
    if missing := [name for name in classes.names if name not in table]:
        raise ConfigError(f"{where}: no id for {', '.join(missing)}: add {'them' if missing[1:] else 'it'}")
    return {name: table[name] for name in classes.names}


def id_lookup(ids: Mapping[str, int]) -> UInt8Array:
    """Return the lookup table (256,) uint8 from class ids to those of `read_ids`; values without a class become 0."""
    lookup = np.zeros(HIGHEST + 1, np.uint8)
    lookup[: len(ids)] = list(ids.values())
    return lookup

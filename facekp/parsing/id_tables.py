"""Tables of class ids: the mask in the ids of other data sets and networks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import yaml  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel

from facekp.classes import ATTRIBUTES
from facekp.errors import ConfigError, did_you_mean
from facekp.files import expand
from facekp.images import UInt8Array

CELEBAMASK: Final = "celebamask"
ID_TABLES: Final[dict[str, dict[str, int]]] = {
    CELEBAMASK: {name: i for i, name in enumerate(ATTRIBUTES)},
    # https://github.com/zllrunning/face-parsing.PyTorch, prepropess_data.py
    "zllrunning": {
        "background": 0, "skin": 1, "l_brow": 2, "r_brow": 3, "l_eye": 4, "r_eye": 5, "eye_g": 6, "l_ear": 7,
        "r_ear": 8, "ear_r": 9, "nose": 10, "mouth": 11, "u_lip": 12, "l_lip": 13, "neck": 14, "neck_l": 15,
        "cloth": 16, "hair": 17, "hat": 18,
    },
    # Liu et al. 2020, https://github.com/jd-opensource/lapa-dataset. We read its "left" as the image's left, which is
    # the subject's right, as facer's parser for LaPa does: it calls id 2 `rb`. LaPa has no class for ears, neck and
    # what people wear.
    "lapa": {
        "background": 0, "skin": 1, "r_brow": 2, "l_brow": 3, "r_eye": 4, "l_eye": 5, "nose": 6, "u_lip": 7,
        "mouth": 8, "l_lip": 9, "hair": 10,
        "eye_g": 1, "l_ear": 0, "r_ear": 0, "hat": 0, "ear_r": 0, "neck_l": 0, "neck": 0, "cloth": 0,
    },
}  # fmt: skip
"""Ids by class name, by the name of the table."""
HIGHEST: Final = 255


def read_ids(ids: str | Path | Mapping[str, int]) -> dict[str, int]:
    """Return an id for every class, in the order of the classes.

    Args:
        ids: a table of `ID_TABLES` by name, a YAML or JSON file with such a table, or the table itself.

    Raises:
        ConfigError: no such table or file, an unknown or missing class, or an id that is not an integer from 0 to 255.
    """
    if isinstance(ids, Mapping):
        return _checked(ids, "ids")
    if str(ids) in ID_TABLES:
        return _checked(ID_TABLES[str(ids)], "ids")
    path = expand(str(ids))
    try:
        table = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        choices = f"{did_you_mean(str(ids), ID_TABLES)}choose one of {', '.join(ID_TABLES)}, or name a file"
        raise ConfigError(f"ids is '{ids}': {choices}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not YAML or JSON"
        raise ConfigError(f"ids: file '{ids}' cannot be read ({reason}); give a table of class names and ids") from None
    if not isinstance(table, dict):
        raise ConfigError(f"ids: file '{ids}' is not a table; give one id per class, as in 'skin: 1'")
    return _checked(table, f"ids: file '{ids}'")


def _checked(table: Mapping[str, int], where: str) -> dict[str, int]:
    for name, i in table.items():
        if name not in ATTRIBUTES:
            close = did_you_mean(str(name), ATTRIBUTES)
            raise ConfigError(f"{where}: no class is called '{name}': {close}the classes are {', '.join(ATTRIBUTES)}")
        if type(i) is not int or not 0 <= i <= HIGHEST:
            raise ConfigError(f"{where}: the id of {name} is {i!r}: give an integer from 0 to {HIGHEST}")
    if missing := [name for name in ATTRIBUTES if name not in table]:
        raise ConfigError(f"{where}: no id for {', '.join(missing)}: add {'them' if missing[1:] else 'it'}")
    return {name: table[name] for name in ATTRIBUTES}


def id_lookup(ids: Mapping[str, int]) -> UInt8Array:
    """Return the lookup table (256,) uint8 from class ids to those of `read_ids`; values without a class become 0."""
    lookup = np.zeros(HIGHEST + 1, np.uint8)
    lookup[: len(ids)] = list(ids.values())
    return lookup

"""Class sets: those of published data sets, the `classes.json` of a folder, and sets made from one another."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from facekp.classes import BACKGROUND, CELEBAMASK_HQ, Classes, read_class_ids
from facekp.errors import ConfigError, DataError, did_you_mean
from facekp.files import expand

CLASS_FILE: Final = "classes.json"
ID_TABLES: Final[dict[str, dict[str, int]]] = {
    "celebamask": {name: i for i, name in enumerate(CELEBAMASK_HQ.names)},
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
LAPA: Final = Classes.of(dict((i, name) for name, i in reversed(ID_TABLES["lapa"].items()))[i] for i in range(11))
ZLLRUNNING: Final = Classes.of(sorted(ID_TABLES["zllrunning"], key=lambda name: ID_TABLES["zllrunning"][name]))
NAMED: Final = {"celebamask": CELEBAMASK_HQ, "lapa": LAPA, "zllrunning": ZLLRUNNING}
"""Class sets by the names of their tables."""


def read_class_file(path: Path) -> tuple[Classes, list[int]]:
    """Return the classes of a class file, and the id of each in it, which need not be consecutive.

    Raises:
        DataError: it cannot be read, is not JSON, names something twice, or describes no set of classes.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = Counter(name for name, _ in pairs)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"names '{twice[0]}' twice")
        return dict(pairs)

    try:
        plain = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
        classes = Classes.from_plain(plain)
        return classes, sorted(read_class_ids(plain).values()) if isinstance(plain, dict) else [*range(len(classes))]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def read_classes(root: Path) -> Classes:
    """Return the classes of a prepared data set: those of its `classes.json`, or else CelebAMask-HQ's.

    Raises:
        DataError: the file is unusable, or its ids are not 0, 1, 2, ...
    """
    path = root / CLASS_FILE
    if not path.exists():
        return CELEBAMASK_HQ
    classes, ids = read_class_file(path)
    if ids != [*range(len(classes))]:
        raise DataError(f"{path}: ids are not 0 to {len(classes) - 1}, as in labels/: number them so, or prepare again")
    return classes


def read_target(given: str, setting: str = "classes") -> Classes:
    """Return the class set that a setting names: one of `NAMED`, a class file, or a prepared folder.

    Raises:
        ConfigError: there is none.
        DataError: the file is unusable.
    """
    if given in NAMED:
        return NAMED[given]
    path = expand(given)
    path = path / CLASS_FILE if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(f"{setting} is '{given}': give {', '.join(NAMED)}, a {CLASS_FILE} or a folder with one")
    return read_class_file(path)[0]


def map_classes(own: Classes, mapping: Mapping[str, str], target: Classes | None = None) -> tuple[Classes, list[int]]:
    """Return the classes that labels have once those of `own` are renamed or merged, and their id for each of `own`.

    Args:
        own: the classes of the labels.
        mapping: new names by name; others keep theirs. Several may get one name, which may be one of `own`.
        target: the classes to end with; None for those of `own` under their new names. If it is a set of `NAMED` that
            `ID_TABLES` makes from CelebAMask-HQ's classes, the table is the default for names of `own` not in it.

    Raises:
        ConfigError: a name that `own` does not have, a new one that `target` does not, or background renamed.

    Example:
        >>> eyes, ids = map_classes(Classes.of(["background", "l_eye", "r_eye"]), {"l_eye": "eye", "r_eye": "eye"})
        >>> eyes.names, ids, eyes.parts
        (('background', 'eye'), [0, 1, 1], {'l_eye': ('eye',), 'r_eye': ('eye',)})
    """
    for name in mapping:
        if name not in own.names:
            close = did_you_mean(name, own.names)
            raise ConfigError(f"map has '{name}': {close}the classes are {', '.join(own.names)}")
    if mapping.get(BACKGROUND, BACKGROUND) != BACKGROUND:
        raise ConfigError(f"map makes {BACKGROUND} '{mapping[BACKGROUND]}': map the others to it instead")
    table = next((ID_TABLES[name] for name, named in NAMED.items() if named == target), {})
    default = {name: target.names[i] for name, i in table.items()} if target else {}
    after = {name: mapping.get(name, default.get(name, name)) for name in own.names}
    if target is None:
        names, parts = dict.fromkeys(after.values()), dict[str, list[str]]()
        for part, shown in own.parts.items():
            # A class that is merged into another of `own` is no longer what shows the part.
            left = dict.fromkeys(after[name] for name in shown if after[name] == name or after[name] not in own.names)
            parts |= {part: list(left)} if left else {}
        try:
            target = Classes.of(
                names,
                pairs=dict.fromkeys((after[one], after[two]) for one, two in own.pairs if after[one] != after[two]),
                colours={name: own.colours[own.index(name)] for name in names if name in own.names},
                parts=parts,
            )
        except ValueError as error:
            raise ConfigError(f"map: {error}") from error
    foreign = {name: new for name, new in after.items() if new not in target.names}
    if foreign:
        example = ", ".join(f"{name}: {BACKGROUND}" for name in foreign)
        raise ConfigError(
            f"not among the classes {', '.join(target.names)}: {', '.join(foreign.values())}; "
            f"map them, as in map={{{example}}}"
        )
    return target, [target.index(new) for new in after.values()]

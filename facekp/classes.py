"""Class sets: names, ids, colours, left/right pairs, parts of the face and named groups.

A prepared data set has one in its `classes.json`, and weights carry theirs; without one it is CelebAMask-HQ's.
"""

import colorsys
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IGNORE_INDEX: Final = 255  # label of pixels that losses and metrics ignore
BACKGROUND: Final = "background"
MOST: Final = 32  # maximum number of classes: outlines are found with one bit for each
NAME: Final = re.compile(r"[\w-]+")

Colour = tuple[int, int, int]
Named = Mapping[str, tuple[str, ...]]

_CELEBAMASK_COLOURS: Final[dict[str, Colour]] = {
    BACKGROUND: (0, 0, 0),
    "skin": (244, 190, 160),
    "nose": (230, 80, 60),
    "eye_g": (70, 200, 255),
    "l_eye": (0, 130, 255),
    "r_eye": (90, 60, 230),
    "l_brow": (255, 200, 0),
    "r_brow": (190, 140, 0),
    "l_ear": (255, 120, 190),
    "r_ear": (190, 60, 140),
    "mouth": (120, 0, 30),
    "u_lip": (220, 0, 70),
    "l_lip": (255, 70, 120),
    "hair": (230, 120, 20),
    "hat": (0, 160, 120),
    "ear_r": (255, 255, 0),
    "neck_l": (180, 255, 60),
    "neck": (150, 180, 160),
    "cloth": (60, 90, 150),
}
PARTS: Final = tuple(_CELEBAMASK_COLOURS)[1:]  # what alignment and landmarks look for: CelebAMask-HQ's names

_FACE = ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")
_GROUPS: Final[Named] = {
    "face": _FACE,
    "head": (*_FACE, "l_ear", "r_ear", "hair", "hat", "ear_r"),
    "features": ("nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip"),
    "skin_area": ("skin", "nose", "l_ear", "r_ear", "neck"),
    "eyes": ("l_eye", "r_eye"),
    "brows": ("l_brow", "r_brow"),
    "ears": ("l_ear", "r_ear"),
    "lips": ("u_lip", "l_lip"),
    "mouth_area": ("mouth", "u_lip", "l_lip"),
    "accessories": ("eye_g", "hat", "ear_r", "neck_l"),
    "body": ("neck_l", "neck", "cloth"),
}
"""Default groups, as parts; `person`, all classes but background, is one more."""
_SIDES: Final = (("l_", "r_"), ("left_", "right_"))


@dataclass(frozen=True)
class Classes:
    """The classes that a data set labels and a network predicts. `l_` is the *subject's* left, the image's right.

    Attributes:
        names: by id; the first is background.
        colours: RGB, by id, for masks, overlays and dashboards.
        pairs: left and right names that are swapped when an image is flipped.
        parts: for each of `PARTS` in the set, the classes that show it.
        groups: named groups of classes, for `facekp.Face.region`; no name is also a class's.

    Example:
        >>> beard = Classes.of(["background", "skin", "beard", "l_eye", "r_eye"], parts={"skin": ["skin", "beard"]})
        >>> beard.pairs, beard.ids("skin"), beard.groups["eyes"]
        ((('l_eye', 'r_eye'),), (1, 2), ('l_eye', 'r_eye'))
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    pairs: tuple[tuple[str, str], ...]
    parts: Named
    groups: Named

    @classmethod
    def of(
        cls,
        names: Iterable[str],
        *,
        colours: Mapping[str, Collection[int]] | None = None,
        pairs: Iterable[Collection[str]] | None = None,
        parts: Mapping[str, Collection[str]] | None = None,
        groups: Mapping[str, Collection[str]] | None = None,
    ) -> "Classes":
        """Return the set of these names, by id; see the class for the rest.

        Colours default to CelebAMask-HQ's or new ones, pairs to names that differ in `l_` and `r_` or `left_` and
        `right_`, a part to the class of its name, and groups to CelebAMask-HQ's, as far as the set has their parts.

        Raises:
            ValueError: the first thing that is wrong.
        """
        names = tuple(names)
        for name in names:
            _require(bool(NAME.fullmatch(name)), f"a class is called '{name}': use letters, digits, _ and -")
            _require(names.count(name) == 1, f"two classes are called '{name}'")
        _require(names[:1] == (BACKGROUND,), f"no class '{BACKGROUND}' with the lowest id: add it")
        _require(1 < len(names) <= MOST, f"{len(names)} classes: give 2 to {MOST}")

        def known(key: str, named: object, count: range = range(1, MOST)) -> tuple[str, ...]:
            given = (named,) if isinstance(named, str) else tuple(named) if isinstance(named, list | tuple) else ()
            _require(len(given) in count, f"{key} names {named!r}: give a list of classes")
            for name in given:
                _require(name in names, f"{key} names '{name}', which is no class: the classes are {', '.join(names)}")
            return given

        for name, colour in (colours or {}).items():
            known("colours", name)
            ok = isinstance(colour, list | tuple) and len(colour) == 3 and all(type(v) is int for v in colour)
            _require(ok and 0 <= min(colour) <= max(colour) <= 255, f"colour of {name} is {colour!r}: give 3 of 0..255")
        own = {name: _new_colour(i) for i, name in enumerate(names)} | _CELEBAMASK_COLOURS | dict(colours or {})
        if pairs is None:
            sides = ((low, right + low[len(left) :]) for left, right in _SIDES for low in names if low.startswith(left))
            pairs = [pair for pair in sides if pair[1] in names]
        paired = [known("pairs", pair, range(2, 3)) for pair in pairs]
        twice = [name for pair in paired for name in pair]
        for name in twice:
            _require(twice.count(name) == 1, f"pairs names '{name}' twice")
        parts = parts or {}
        for part in parts:
            _require(part in PARTS, f"parts has '{part}': the parts are {', '.join(PARTS)}")
        showing = {p: known(f"parts, {p},", parts.get(p, (p,))) for p in PARTS if p in names or p in parts}
        default = {g: tuple(n for n in names if any(n in showing.get(p, ()) for p in of)) for g, of in _GROUPS.items()}
        default = {g: of for g, of in (default | {"person": names[1:]}).items() if of and g not in names}
        for group in groups or {}:
            _require(bool(NAME.fullmatch(group)) and group not in names, f"groups has '{group}': use another name")
        grouped = default | {g: known(f"groups, {g},", of) for g, of in (groups or {}).items()}
        rgb = tuple((int(r), int(g), int(b)) for r, g, b in (own[name] for name in names))
        return cls(names, rgb, tuple((left, right) for left, right in paired), showing, grouped)

    @classmethod
    def from_plain(cls, plain: object) -> "Classes":
        """Return the set that `to_plain` describes, or a `classes.json`; its ids need not be consecutive.

        Raises:
            ValueError: the first thing that is wrong.
        """
        if plain == list(CELEBAMASK_HQ.names):
            return CELEBAMASK_HQ
        ids = read_class_ids(plain)
        rest = {key: value for key, value in dict(plain).items() if key != "ids"}  # type: ignore[call-overload]
        for key, value in rest.items():
            kind, word = (list, "list") if key == "pairs" else (dict, "table")
            _require(isinstance(value, kind), f"{key} is {value!r}: give a {word}")
        return cls.of(sorted(ids, key=lambda name: ids[name]), **rest)

    def to_plain(self) -> list[str] | dict[str, Any]:
        """Return plain data for JSON: a list of names for CelebAMask-HQ's classes, as older versions wrote it."""
        if self == CELEBAMASK_HQ:
            return list(self.names)
        return {
            "ids": {name: i for i, name in enumerate(self.names)},
            "colours": {name: list(colour) for name, colour in zip(self.names, self.colours, strict=True)},
            "pairs": [list(pair) for pair in self.pairs],
            "parts": {part: list(names) for part, names in self.parts.items()},
            "groups": {group: list(names) for group, names in self.groups.items()},
        }

    def __len__(self) -> int:
        return len(self.names)

    def __hash__(self) -> int:
        return hash(self.names)

    def index(self, name: str) -> int:
        """Return the id of a class."""
        return self.names.index(name)

    def showing(self, *parts: str) -> tuple[str, ...]:
        """Return the classes that show any of these parts, by id."""
        return tuple(name for name in self.names if any(name in self.parts.get(part, ()) for part in parts))

    def ids(self, *parts: str) -> tuple[int, ...]:
        """Return the ids of the classes that show any of these parts."""
        return tuple(self.index(name) for name in self.showing(*parts))

    def mirror_table(self) -> "npt.NDArray[np.uint8]":
        """Return the lookup table that swaps left and right ids in a label map after a horizontal flip.

        Returns:
            (256,) uint8; of CelebAMask-HQ `table[4] == 5`, `table[5] == 4`, ..., and other values map to themselves.
        """
        import numpy as np  # settings are checked before it is imported

        table = np.arange(256, dtype=np.uint8)
        for pair in self.pairs:
            left, right = map(self.index, pair)
            table[left], table[right] = right, left
        return table


def read_class_ids(plain: object) -> dict[str, int]:
    """Return the ids, 0..255, by name, that a `classes.json` gives.

    Raises:
        ValueError: it has none, other keys than it may have, or one id twice.
    """
    keys = ("ids", "colours", "pairs", "parts", "groups")
    ids = plain.get("ids") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or not isinstance(ids, dict):
        raise ValueError('no table of ids: give one, as in {"ids": {"background": 0, "skin": 1, "beard": 2}}')
    for key in plain:
        _require(key in keys, f"'{key}' is not known: a class file has {', '.join(keys)}")
    taken: dict[int, str] = {}
    for name, i in ids.items():
        _require(type(i) is int and 0 <= i <= 255, f"the id of {name} is {i!r}: give an integer from 0 to 255")
        _require(taken.setdefault(i, name) == name, f"{taken[i]} and {name} both have id {i}")
    return ids


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def _new_colour(i: int) -> Colour:
    """Return a colour for a class without one; neighbours differ by the golden angle."""
    r, g, b = colorsys.hsv_to_rgb(0.618034 * i % 1, 0.65, (0.95, 0.7)[i % 2])
    return round(255 * r), round(255 * g), round(255 * b)


CELEBAMASK_HQ: Final = Classes.of((BACKGROUND, *PARTS))
"""The 19 classes of CelebAMask-HQ. Reference: Lee et al. 2020, arXiv:1907.11922; the ids match its official code."""

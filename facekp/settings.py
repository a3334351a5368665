"""Typed settings: dataclass fields with a help line, a range and what they affect.

`setting` declares a field, `Settings` checks the values of a new dataclass, and `walk` lists its settings.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from operator import le, lt
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin

from omegaconf import MISSING

from facekp.errors import ConfigError


class Affects(StrEnum):
    """What a setting affects. A resumed run may change every setting that does not affect its result."""

    RESULT = "result"
    """The trained weights."""
    SCORES = "scores"
    """How a run is scored: fixed within its folder, which has one curve; free if the run continues in another."""
    MACHINE = "machine"
    """The hardware and its use; results differ only by rounding."""
    SPEED = "speed"
    """Speed and memory only."""
    PLACE = "place"
    """Where files and logs go."""


@dataclass(frozen=True)
class Check:
    """A range of values, its description ("at least 1"), and the remedy for other values ("give at least 1")."""

    accepts: Callable[[Any], bool]
    range: str
    remedy: str


def check_that(accepts: Callable[[Any], bool], range: str, such_as: object = None, why: str = "") -> Check:
    """Return a check whose remedy is to give `range`, with an example and the reason."""
    example = "" if such_as is None else f", such as {such_as}"
    return Check(accepts, range, f"give {range}{example}{why and f': {why}'}")


def at_least(least: float, why: str = "") -> Check:
    """Accept finite numbers of `least` or more."""
    return check_that(lambda value: least <= value < math.inf, f"at least {least}", why=why)


def above(limit: float) -> Check:
    """Accept finite numbers above `limit`."""
    return check_that(lambda value: limit < value < math.inf, f"a number above {limit}")


def between(low: float, high: float, ends: Literal["[]", "[)", "(]", "()"] = "[]", such_as: object = None) -> Check:
    """Accept numbers from `low` to `high`; a round bracket in `ends` excludes that end."""
    words = {"[]": "from {} to {}", "[)": "from {} to below {}", "(]": "above {}, up to {}", "()": "between {} and {}"}
    above_low, below_high = le if ends[0] == "[" else lt, le if ends[1] == "]" else lt
    accepts = lambda value: above_low(low, value) and below_high(value, high)  # noqa: E731
    return check_that(accepts, f"a number {words[ends].format(low, high)}", such_as)


def multiple_of(factor: int) -> Check:
    """Accept `factor` and its multiples."""
    accepts = lambda value: value >= factor and value % factor == 0  # noqa: E731
    return check_that(accepts, f"a multiple of {factor}", 14 * factor)


def one_of(*choices: Any) -> Check:
    """Accept one of several strings, or of a `Literal`'s, which OmegaConf 2.3 does not support as a field type."""
    names = get_args(choices[0]) if get_origin(choices[0]) is Literal else choices
    listed = ", ".join(names)
    return Check(lambda value: value in names, listed, f"choose one of {listed}")


def each(check: Check, *, such_as: object = None) -> Check:
    """Accept non-empty lists whose items all pass `check`."""
    accepts = lambda values: len(values) > 0 and all(map(check.accepts, values))  # noqa: E731
    return check_that(accepts, f"a list, each {check.range}", such_as)


def setting(
    default: Any,
    help: str,
    check: Check | None = None,
    *,
    affects: Affects = Affects.RESULT,
    path: bool = False,
    confounds: str = "",
) -> Any:
    """Declare a field of a settings dataclass.

    Args:
        default: the default value; `omegaconf.MISSING` if it is required. Lists and dicts are copied.
        help: one-line description, with the unit if it has one.
        check: the range of valid values; null passes if the type allows it.
        affects: what the setting affects.
        path: whether it names a local file or folder, which is meaningless on another machine.
        confounds: what cannot be compared between runs that differ in it; always speed and memory if it affects speed.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Crops(Settings, group="crops"):
        ...     size: int = setting(448, "side in pixels", multiple_of(32))
        >>> Crops(size=30)
        Traceback (most recent call last):
        facekp.errors.ConfigError: crops.size is 30: give a multiple of 32, such as 448
    """
    confounds = "speed and memory" if affects is Affects.SPEED else confounds
    metadata = {"help": help, "affects": affects, "check": check, "path": path, "confounds": confounds}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """A setting as `walk` yields it; see `setting` for the other attributes."""

    key: str  # full name, with its groups, such as "data.size"
    field: str  # path of its field; the setting `class` has the field `class_`, since `class` is a keyword
    type: Any
    default: Any
    help: str = ""
    affects: Affects = Affects.RESULT
    check: Check | None = None
    path: bool = False
    confounds: str = ""

    @property
    def hint(self) -> str:
        """The help in brackets, for messages."""
        return f" ({self.help})" if self.help else ""

    @property
    def optional(self) -> bool:
        """Whether it may be null."""
        return NoneType in get_args(self.type)

    @property
    def type_name(self) -> str:
        """The type as it is written in Python."""
        return self.type.__name__ if get_origin(self.type) is None and isinstance(self.type, type) else str(self.type)

    @property
    def type_in_words(self) -> str:
        """What a value of the type looks like, for messages."""
        if get_origin(self.type) is list:
            return "a list in brackets, such as [a,b]"
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        kind = next(kind for kind in get_args(self.type) or (self.type,) if kind is not NoneType)
        return f"{words.get(kind, self.type_name)}{' or null' if self.optional else ''}"


class Settings:
    """Base class of settings dataclasses; messages put `group` before a setting's name."""

    _prefix: ClassVar[str] = ""

    def __init_subclass__(cls, group: str = "") -> None:
        cls._prefix = f"{group}." if group else cls._prefix

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ConfigError: a value is out of range; the message names the setting, the value and the remedy.
        """
        for f in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            found, value = _setting(f, self._prefix), getattr(self, f.name)
            if found.path and value == "":  # an unset shell variable; as a path it would mean the current folder
                null = " or null" if found.optional else ""
                raise ConfigError(f"{found.key} is empty: give a path{null}{found.hint}")
            if found.check is None or value == MISSING:
                continue
            if not (found.optional if value is None else found.check.accepts(value)):
                null = ", or null" if found.optional else ""
                raise ConfigError(f"{found.key} is {value!r}: {found.check.remedy}{null}")


def walk(schema: Any, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a dataclass and its nested ones, in order; keys start with `prefix`, such as "data."."""
    for f in fields(schema):
        if is_dataclass(f.type):
            # The default may be of a subclass, with more settings.
            made = f.default_factory if isinstance(f.default_factory, type) else f.type
            yield from walk(made, f"{prefix}{f.name}.")
        else:
            yield _setting(f, prefix)


def settings_that(schema: Any, *affect: Affects) -> frozenset[str]:
    """Return the keys of the settings of a dataclass that affect one of `affect`."""
    return frozenset(found.key for found in walk(schema) if found.affects in affect)


def _setting(f: Any, prefix: str) -> Setting:
    default = f.default if f.default_factory is NO_DEFAULT else f.default_factory()
    default = MISSING if default is NO_DEFAULT else default
    return Setting(f"{prefix}{f.name.removesuffix('_')}", f"{prefix}{f.name}", f.type, default, **f.metadata)

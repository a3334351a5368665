"""Settings of a command as `key=value` arguments, checked against a dataclass."""

import difflib
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields, is_dataclass
from keyword import iskeyword
from typing import Any, TypeVar, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel

from facekp.errors import ConfigError

T = TypeVar("T")

_HELP = ("-h", "--help", "help")


@dataclass(frozen=True)
class _Setting:
    key: str
    type: Any
    default: Any
    help: str

    @property
    def type_name(self) -> str:
        # `list[float]` and `int | None` print well as they are; a class prints as <class 'int'>.
        return self.type.__name__ if get_origin(self.type) is None and isinstance(self.type, type) else str(self.type)

    @property
    def remark(self) -> str:
        return f" ({self.help})" if self.help else ""

    @property
    def takes_text(self) -> bool:
        return self.type in (str, str | None)


def parse_cli(schema: type[T], argv: Sequence[str], *, program: str, about: str, without: Collection[str] = ()) -> T:
    """Read `key=value` arguments into a dataclass, with dots into nested ones; `--help` prints the settings and exits.

    A field's help line is its `metadata["help"]`; a field whose default is `omegaconf.MISSING` must be given. Text
    settings are taken as they stand, all others are YAML (`scales=[0.5,1]`, `workers=null`).

    Args:
        schema: the dataclass; its `__post_init__` may check ranges.
        argv: the arguments, without the program's name.
        program: how the command is called, for the help.
        about: what the command does, in a line.
        without: settings of `schema` that this command has no use for; they stay at their defaults.

    Returns:
        An instance of `schema`.

    Raises:
        ConfigError: an unknown setting, a value of the wrong type, a required setting that is not given, or an
            argument that is no `key=value`.

    Example:
        >>> @dataclass
        ... class Settings:
        ...     size: int = 512
        >>> parse_cli(Settings, ["size=64"], program="demo", about="Shows a size.").size
        64
    """
    settings = {setting.key: setting for setting in _walk(schema) if setting.key not in without}
    if any(argument in _HELP for argument in argv):
        print(_help(settings, program, about))
        sys.exit(0)
    config = OmegaConf.structured(schema)
    for argument in argv:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ConfigError(
                f"argument '{argument}' has no '=': write settings as key=value, as in {_example(settings)}"
            )
        setting = _find(key, settings)
        try:
            OmegaConf.update(config, _field(key), _value(setting, text))
        except (OmegaConfBaseException, YAMLError):
            # `from None`: one_line_errors would show OmegaConf's message instead of ours.
            raise ConfigError(f"{key} is '{text}': give {setting.type_name}{setting.remark}") from None
    missing = {key.removesuffix("_") for key in OmegaConf.missing_keys(config)}
    for key in sorted(missing, key=list(settings).index):
        raise ConfigError(f"{key} is not set: give {key}=...{settings[key].remark}")
    filled = OmegaConf.to_object(config)
    if not isinstance(filled, schema):
        raise TypeError(f"{schema.__name__} became {type(filled).__name__}")
    return filled


def _walk(schema: Any, prefix: str = "") -> Iterator[_Setting]:
    hints = get_type_hints(schema)
    for field in fields(schema):
        key, hint = prefix + field.name.removesuffix("_"), hints[field.name]
        if is_dataclass(hint):
            yield from _walk(hint, key + ".")
            continue
        default = field.default if field.default_factory is NO_DEFAULT else field.default_factory()
        required = default is NO_DEFAULT or default == MISSING
        yield _Setting(key, hint, MISSING if required else default, field.metadata.get("help", ""))


def _field(key: str) -> str:
    """Return what a setting's field is called: `class` cannot be one's name, so it is `class_`."""
    return f"{key}_" if iskeyword(key.rpartition(".")[2]) else key


def _find(key: str, settings: dict[str, _Setting]) -> _Setting:
    """Return the setting called `key`, or the free-form dict that holds it."""
    if key in settings:
        return settings[key]
    for setting in settings.values():
        if get_origin(setting.type) is dict and key.startswith(setting.key + "."):
            return setting
    close = difflib.get_close_matches(key, settings, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise ConfigError(f"no setting is called '{key}': {hint}known are {', '.join(settings)}")


def _value(setting: _Setting, text: str) -> Any:
    if not text:
        # A shell variable that is not set; an empty path would mean the current folder.
        raise ConfigError(f"{setting.key} is empty: give {setting.key}=...{setting.remark}")
    if setting.type is str or (setting.takes_text and text != "null"):
        # YAML would turn a folder called 010 into 8 and one called `on` into True; ${HOME} is for `expand` to resolve.
        return text.replace("${", "\\${")
    return OmegaConf.from_dotlist([f"value={text}"])["value"]


def _example(settings: dict[str, _Setting]) -> str:
    return f"{next(iter(settings))}=..."


def _help(settings: dict[str, _Setting], program: str, about: str) -> str:
    rows = [(s.key, s.type_name, _shown(s.default), s.help) for s in settings.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  " + "  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows]
    return "\n".join([f"{program} key=value ...", "", about, "", "Settings (name, type, default):", *lines])


def _shown(value: object) -> str:
    return "required" if value == MISSING else "null" if value is None else str(value)

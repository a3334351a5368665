"""Settings of a command as `key=value` arguments, checked against a dataclass."""

import difflib
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_origin

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tabulate import tabulate
from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel

from facekp.errors import ConfigError
from facekp.settings import Setting, walk

T = TypeVar("T")


def parse_cli(schema: type[T], argv: Sequence[str], *, program: str, about: str, without: Collection[str] = ()) -> T:
    """Read `key=value` arguments into a dataclass, with dots into nested ones; `--help` prints the settings and exits.

    Text settings are taken as they stand, all others are YAML (`scales=[0.5,1]`, `workers=null`). A field whose default
    is `omegaconf.MISSING` must be given.

    Args:
        schema: the dataclass, its fields declared with `facekp.settings.setting`.
        argv: the arguments, without the program's name.
        program: how the command is called, for the help.
        about: what the command does, in a line.
        without: settings of `schema` that the command does not use; they keep their defaults.

    Returns:
        An instance of `schema`.

    Raises:
        ConfigError: an unknown setting, a value of the wrong type or out of range, a required setting that is not
            given, or an argument that is no `key=value`.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Settings:
        ...     size: int = 512
        >>> parse_cli(Settings, ["size=64"], program="demo", about="Shows a size.").size
        64
    """
    settings = {setting.key: setting for setting in walk(schema) if setting.key not in without}
    if {"-h", "--help", "help"} & set(argv):
        print(f"{program} key=value ...\n\n{about}\n\n{describe_settings(settings.values())}")
        sys.exit(0)
    config = OmegaConf.structured(schema)
    for argument in argv:
        key, equals, text = argument.partition("=")
        if not equals:
            example = f"{next(iter(settings))}=..."
            raise ConfigError(f"argument '{argument}' has no '=': write settings as key=value, as in {example}")
        setting = _find(key, settings)
        try:
            OmegaConf.update(config, key.replace(setting.key, setting.field, 1), _value(setting, text))
        except (OmegaConfBaseException, YAMLError):
            # `from None`: one_line_errors would show OmegaConf's message instead of ours.
            raise ConfigError(f"{key} is '{text}': give {setting.type_name}{_help(setting)}") from None
    missing = OmegaConf.missing_keys(config)
    for key, setting in settings.items():
        if setting.field in missing:
            raise ConfigError(f"{key} is not set: give {key}=...{_help(setting)}")
    filled = OmegaConf.to_object(config)
    if not isinstance(filled, schema):
        raise TypeError(f"{schema.__name__} became {type(filled).__name__}")
    return filled


def describe_settings(settings: Iterable[Setting]) -> str:
    """Return a table of settings as text: name, type, default and help."""
    rows = [
        ["", s.key, s.type_name, {MISSING: "required", "None": "null"}.get(str(s.default), s.default), s.help]
        for s in settings
    ]
    return f"Settings (name, type, default):\n{tabulate(rows, tablefmt='plain', disable_numparse=True)}"


def _find(key: str, settings: Mapping[str, Setting]) -> Setting:
    """Return the setting called `key`, or the free-form dict that holds it."""
    if key in settings:
        return settings[key]
    for setting in settings.values():
        if get_origin(setting.type) is dict and key.startswith(f"{setting.key}."):
            return setting
    close = difflib.get_close_matches(key, settings, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise ConfigError(f"no setting is called '{key}': {hint}known are {', '.join(settings)}")


def _value(setting: Setting, text: str) -> Any:
    if not text:
        # A shell variable that is not set; an empty path would mean the current folder.
        raise ConfigError(f"{setting.key} is empty: give {setting.key}=...{_help(setting)}")
    if setting.type is str or (setting.type == str | None and text != "null"):
        # YAML would turn a folder called 010 into 8 and one called `on` into True; ${HOME} is for `expand` to resolve.
        return text.replace("${", "\\${")
    return OmegaConf.from_dotlist([f"value={text}"])["value"]


def _help(setting: Setting) -> str:
    return f" ({setting.help})" if setting.help else ""

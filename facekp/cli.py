"""What all commands share: `key=value` arguments, checked against a dataclass, and progress on stderr."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm
from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel

import facekp
from facekp.errors import ConfigError, did_you_mean
from facekp.settings import Setting, walk

T = TypeVar("T")

PROGRESS_AFTER: Final = 2.0  # seconds after which progress is shown; what takes less time shows none
LINE_EVERY: Final = 30.0  # seconds between two lines of progress where stderr is not a terminal


def parse_cli(schema: type[T], argv: Sequence[str], *, program: str, about: str) -> T:
    """Parse `key=value` arguments into a dataclass, dotted keys into nested ones; `--help` prints the settings.

    String settings are taken literally; all others are parsed as YAML (`scales=[0.5,1]`, `workers=null`). Fields whose
    default is `omegaconf.MISSING` are required; arguments without `=`, and names of files that have one, are their
    values, in order. `program` and `about` are the command line and its description in the help.

    Raises:
        ConfigError: a setting is unknown, missing, empty, of the wrong type or out of range, or too many arguments have
            no `=`.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Settings:
        ...     size: int = 512
        >>> parse_cli(Settings, ["size=64"], program="demo", about="Shows a size.").size
        64
    """
    settings = {setting.key: setting for setting in walk(schema)}
    required = [key for key, setting in settings.items() if setting.default == MISSING]
    if {"-h", "--help", "help"} & set(argv):
        usage = " ".join([program, *map(str.upper, required), "key=value ..."])
        print(f"{usage}\n\n{about.strip()}\n\n{describe_settings(settings.values())}")
        sys.exit(0)
    if "--version" in argv:
        print(f"facekp {facekp.__version__}")
        sys.exit(0)
    config = OmegaConf.structured(schema)
    unset = (key for key in required if not any(argument.startswith(f"{key}=") for argument in argv))
    for argument in argv:
        name, equals, _ = argument.partition("=")
        is_file = name not in settings and os.path.lexists(argument)  # such as a=b.jpg
        positional = (not equals or is_file) and not argument.startswith("-")
        key = next(unset, None) if positional else None
        _assign(config, settings, argument if key is None else f"{key}={argument}")
    missing = OmegaConf.missing_keys(config)
    for key, setting in settings.items():
        if setting.field in missing:
            raise ConfigError(f"{key} is not set: give {key}=...{setting.hint}")
    return cast(T, OmegaConf.to_object(config))


def _assign(config: DictConfig, settings: Mapping[str, Setting], argument: str) -> None:
    key, equals, text = argument.partition("=")
    if not equals:
        remedy = f"write settings as key=value, as in {next(iter(settings))}=..., and quote patterns"
        raise ConfigError(f"argument '{argument}' has no '=': {remedy}")
    if (setting := settings.get(key)) is None:
        close = did_you_mean(key, settings)
        raise ConfigError(f"no setting is called '{key}': {close}known are {', '.join(settings)}")
    if not text:  # e.g. an unset shell variable; an empty path would mean the current folder
        raise ConfigError(f"{key} is empty: give {key}=...{setting.hint}")
    try:
        if setting.type is str or (setting.type == str | None and text != "null"):
            # YAML would read a folder called 010 as 8 and one called `on` as True; `expand` resolves ${HOME}.
            value: Any = text.replace("${", "\\${")
        else:
            value = OmegaConf.from_dotlist([f"value={text}"])["value"]
        OmegaConf.update(config, setting.field, value)
    except (OmegaConfBaseException, YAMLError):
        # `from None`, or else one_line_errors would show OmegaConf's message instead of ours.
        raise ConfigError(f"{key} is '{text}': give {setting.type_in_words}{setting.hint}") from None


def describe_settings(settings: Iterable[Setting]) -> str:
    """Return a table of settings as text: name, type, default and help."""
    from tabulate import tabulate  # takes a tenth of a second to import, and only the help needs it

    rows = [
        ["", s.key, s.type_name, "required" if s.default == MISSING else _as_yaml(s.default), s.help] for s in settings
    ]
    return f"Settings (name, type, default):\n{tabulate(rows, tablefmt='plain', disable_numparse=True)}"


def _as_yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"[{','.join(map(_as_yaml, value))}]" if isinstance(value, list) else str(value)


class Progress(tqdm):  # type: ignore[misc]  # tqdm has no types
    """Progress with rate and time left: a bar on a terminal, and a line now and then in a log."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not sys.stderr.isatty():
            layout = "{desc}: {n_fmt} of {total_fmt} ({elapsed}, {remaining} left, {rate_fmt}{postfix})"
            kwargs |= {"file": _Lines(), "mininterval": LINE_EVERY, "miniters": 1, "bar_format": layout}
        super().__init__(*args, **{"delay": PROGRESS_AFTER} | kwargs)


class _Lines:
    """A file for tqdm that writes each update as a line to stderr."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()

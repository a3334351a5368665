"""What settings go through: checks that name the setting, its value and the remedy; paths, and names with dots."""

import math
import os
from pathlib import Path
from typing import Any, get_args

from facekp.errors import ConfigError


def require(setting: str, value: object, ok: bool, remedy: str) -> None:
    """Raise ConfigError naming the setting, its value and the remedy unless `ok`."""
    if not ok:
        raise ConfigError(f"{setting} is {value!r}: {remedy}")


def require_choice(setting: str, value: str, choices: Any) -> None:
    """Raise ConfigError unless `value` is one of a Literal's."""
    names = get_args(choices)
    require(setting, value, value in names, f"choose one of {', '.join(names)}")


def require_all(settings: dict[str, tuple[float, bool]], remedy: str) -> None:
    """Raise ConfigError for the first number that is not finite or not `ok`, in `{"optim.lr": (number, ok)}`."""
    for setting, (value, ok) in settings.items():
        require(setting, value, ok and math.isfinite(value), remedy)


def expand(path: str) -> Path:
    """Return `path` with `~` and environment variables resolved."""
    return Path(os.path.expandvars(path)).expanduser()


def fold(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one.

    Example:
        >>> fold({"optim": {"lr": 0.01}, "seed": 1})
        {'optim.lr': 0.01, 'seed': 1}
    """
    folded: dict[str, Any] = {}
    for name, value in settings.items():
        folded |= fold(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return folded

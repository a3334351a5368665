"""Composition of a run's settings: from `conf/` and the command line to a checked `Config`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, Final, cast

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import facekp
from facekp.cli import describe_settings
from facekp.config import Config, LossConfig, OptimConfig, fold
from facekp.errors import ConfigError, explain
from facekp.settings import walk

CONF: Final = Path(facekp.__file__).parent / "conf"  # the package's own; in a checkout, a link to its `conf/`
OWN: Final = "conf"  # the user's own, in the current folder; they come before the package's of the same name

HELP = """facekp train GROUP=NAME KEY=VALUE ...

Train one network, or several: facekp train -m model=resnet18,residual_attention

Groups and their choices of NAME, from a folder conf/ here, else from the package:

$APP_CONFIG_GROUPS
{settings}

--cfg job prints the composed settings, --hydra-help shows Hydra's own options.
"""


@dataclass
class _Composed(Config):
    """The schema for Hydra: a loss or optimiser other than the default has its own settings."""

    loss: Any = None
    optim: Any = None


class OwnConfigurations(SearchPathPlugin):
    """Put the user's own `conf/` before the package's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder, unless another one takes the package's place (`--config-path`)."""
        main = [place.path for place in search_path.get_path() if place.provider == "main"]
        if main[0].removeprefix("file://") == str(CONF) and Path(OWN).is_dir() and not CONF.samefile(OWN):
            search_path.prepend("own", f"file://{Path(OWN).absolute()}", "main")


def register_schema() -> None:
    """Register the settings with Hydra, to check `conf/` and the command line and to show in `--help`."""
    Plugins.instance().register(OwnConfigurations)
    store = ConfigStore.instance()
    store.store(name="schema", node=_Composed)
    table = describe_settings(walk(Config)).replace("$", "$$")
    store.store(group="hydra/help", name="settings", node={"template": HELP.format(settings=table)})


def require_names(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a group whose choice is a number or null, as in `model=3`; Hydra does not name it."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        group, value = override.key_or_group, override.value()
        names = sorted(path.stem for path in (CONF / group).glob("*.yaml")) if group else []
        if names and not override.is_delete() and (value is None or isinstance(value, int | float)):
            choice = str(override.input_line).partition("=")[2]
            raise ConfigError(f"{group} is {choice}: choose one of {', '.join(names)}, or leave it out")


def read_config(composed: DictConfig) -> Config:
    """Turn Hydra's composed settings into a checked Config.

    Raises:
        ConfigError: an unknown setting, a value out of range, or no schema.
    """
    known = {found.key for found in walk(Config)}
    for key in fold(cast(dict[str, Any], OmegaConf.to_container(composed))):
        # Nothing would read a setting added by +key=value. Networks, losses and optimisers have their own settings.
        if key not in known and key.partition(".")[0] not in ("model", "loss", "optim"):
            raise ConfigError(f"no setting is called '{key}': leave it out, or see `facekp train --help`")
    found = OmegaConf.to_object(composed)
    if not isinstance(found, Config):
        raise ConfigError("conf/config.yaml has no schema: put `- schema` first in its defaults, as facekp's own does")
    given = {"loss": (found.loss, LossConfig), "optim": (found.optim, OptimConfig)}
    return Config(**{**vars(found), **{group: _typed(group, *typed) for group, typed in given.items()}})


def schema_of(default: Any, given: Mapping[str, Any]) -> Any:
    """Return `default`, or its base if `given` names another loss, optimiser or schedule.

    Those have their own settings, which are checked when they are built.
    """
    chosen = {f.name: f.default for f in fields(default) if f.name in ("name", "schedule")}
    return default if chosen == {key: given.get(key, name) for key, name in chosen.items()} else default.__bases__[0]


def _typed(group: str, given: Any, default: Any) -> Any:
    """Return the checked settings of a loss, or of an optimiser and schedule."""
    schema = schema_of(default, given)
    if schema is not default:
        own = [(key, Any, field(default=None)) for key in given if key not in {f.name for f in fields(schema)}]
        schema = make_dataclass(f"Other{schema.__name__}", own, bases=(schema,))
    try:
        node = OmegaConf.merge({group: OmegaConf.structured(schema)}, {group: given})
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    return OmegaConf.to_object(cast(DictConfig, node)[group])

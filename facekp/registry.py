"""Registries of classes and functions by name, filled by importing every module of a package."""

import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import make_dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facekp.errors import ConfigError

T = TypeVar("T", bound=Callable[..., Any])
Registered = TypeVar("Registered", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Classes or functions that a setting, such as "model.name", selects by name.

    The modules of `package` are imported when a name is first looked up; each registers its components.
    """

    def __init__(self, setting: str, package: str) -> None:
        self.setting, self.package = setting, package
        self._found: dict[str, T] = {}
        self._searched = False

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Return a decorator that makes a class or function available as `name`."""

        def add(found: Registered) -> Registered:
            self._found[name] = cast(T, found)
            return found

        return add

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        if not self._searched:
            self._searched = True
            for module in pkgutil.iter_modules(import_module(self.package).__path__):
                if not module.name.startswith("_"):
                    import_module(f"{self.package}.{module.name}")
        return sorted(self._found)

    def __getitem__(self, name: str) -> T:
        """Return the component registered as `name`; an unknown name raises ConfigError, which lists the known ones."""
        if name not in (names := self.names()):
            raise ConfigError(f"{self.setting} is '{name}': choose one of {', '.join(names)}")
        return self._found[name]

    def build(self, name: str, settings: Mapping[str, Any], **given: Any) -> Any:
        """Build the component registered as `name` with its settings, and with what is `given` by other means.

        Raises:
            ConfigError: an unknown name, an unknown setting, or a value of the wrong type.
        """
        group = self.setting.rpartition(".")[0]
        built = self[name]
        return built(**checked_settings(group, name, parameters_of(built, without=given), settings), **given)


def parameters_of(built: Callable[..., Any], without: Iterable[str] = ()) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function by name, with annotations resolved to types."""
    hints = get_type_hints(built.__init__ if inspect.isclass(built) else built)
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(built).parameters.items()
        if name not in without
    }


def checked_settings(
    group: str, owner: str, parameters: Mapping[str, inspect.Parameter], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of `owner`, converted to their parameters' types; `Literal` is left for `owner` to check.

    Raises:
        ConfigError: an unknown setting, or a value of the wrong type.
    """
    checked = {}
    for key, value in settings.items():
        if key not in parameters:
            raise ConfigError(f"{group}.{key} is not a setting of {owner}: it has {', '.join(parameters) or 'none'}")
        kind = parameters[key].annotation
        # OmegaConf supports plain types, lists of them and optional ones, but not `Literal`.
        parts = set(get_args(kind)) - {NoneType} or {kind}
        known = get_origin(kind) in (None, list, UnionType) and parts <= {bool, int, float, str}
        node = OmegaConf.structured(make_dataclass("Value", [("value", kind if known else Any)]))
        try:
            node.value = value
        except OmegaConfBaseException as error:
            words = kind.__name__ if isinstance(kind, type) else kind
            raise ConfigError(f"{group}.{key} is {value!r}: give a value of type {words}") from error
        checked[key] = OmegaConf.to_container(node)["value"]  # type: ignore[index,call-overload]  # of one key
    return checked

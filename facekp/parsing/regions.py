"""Regions: classes and groups of classes by name."""

from collections.abc import Sequence

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.errors import ConfigError, did_you_mean

UNION = "+"
"""Joins the names of a union, as in "lips+nose"."""


def class_ids(region: str | Sequence[str], classes: Classes = CELEBAMASK_HQ) -> tuple[int, ...]:
    """Return the ids of a region's classes, ascending.

    Args:
        region: a class, a group of `classes`, or a union of them: "lips+nose" or ("lips", "nose").
        classes: the class set.

    Raises:
        ConfigError: no such class or group, or none at all.

    Example:
        >>> class_ids("hair"), class_ids("brows"), class_ids(("lips", "nose")), class_ids("lips+nose")
        ((13,), (6, 7), (2, 11, 12), (2, 11, 12))
        >>> class_ids("hairs")
        Traceback (most recent call last):
        facekp.errors.ConfigError: no region is called 'hairs': did you mean 'hair'? choose from ...
    """
    names = region.split(UNION) if isinstance(region, str) else list(region)
    found: set[str] = set()
    for name in names:
        if name not in (known := (*classes.groups, *classes.names)):
            raise ConfigError(
                f"no region is called '{name}': {did_you_mean(name, known)}choose from {', '.join(known)}, "
                f"or join several, as in lips{UNION}nose"
            )
        found.update(classes.groups.get(name, (name,)))
    if not found:
        raise ConfigError(f"region is {region!r}: name at least one class or group, such as 'hair'")
    return tuple(i for i, name in enumerate(classes.names) if name in found)

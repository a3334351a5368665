"""From the `data` settings to a folder in the prepared layout."""

from pathlib import Path

from facekp.config import DataConfig, expand
from facekp.data.layout import HOW_TO_GET, recognise
from facekp.errors import ConfigError


def check_source(config: DataConfig) -> None:
    """Raise within milliseconds if the data set cannot be there.

    Raises:
        ConfigError: no `data.root`.
        DataError: a folder that is missing or in neither layout.
    """
    if config.source == "synthetic":
        return
    if config.root is None:
        raise ConfigError(f"data.root is not set, nor the environment variable FACEKP_DATA: {HOW_TO_GET}")
    recognise(expand(config.root))


def prepared_root(config: DataConfig) -> Path:
    """Return the folder of the prepared data set, drawing or preparing it first where needed."""
    check_source(config)
    root = expand(config.root or "")
    return root

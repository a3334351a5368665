"""Errors that a user can cause, and how an entry point shows them: one line, no traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException


class FacekpError(Exception):
    """Something the user can put right; the message names the thing, the value and the remedy."""


class ConfigError(FacekpError, ValueError):
    """A setting with a value that cannot be used."""


class DataError(FacekpError, ValueError):
    """A data set, image or label that cannot be used."""


class CheckpointError(FacekpError, ValueError):
    """A file that is not a facekp checkpoint."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a user's error as one line on stderr and exit with status 2; our own bugs keep their traceback."""
    # Otherwise Hydra catches errors first and prints them with its own advice around them.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        yield
    except (FacekpError, HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        print(f"error: {_flatten(str(cause))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _flatten(message: str) -> str:
    return "; ".join(line.strip() for line in message.splitlines() if line.strip())

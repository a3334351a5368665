"""Errors of loggers, which never end a run."""

import sys
from contextlib import AbstractContextManager


class Tolerance(AbstractContextManager[None]):
    """Suppress the errors of a `with` block that logs, and print the first one. It can be used any number of times.

    Args:
        name: what is being written to, for the message.

    Example:
        >>> tolerance = Tolerance("W&B")
        >>> for _ in range(2):
        ...     with tolerance:
        ...         raise OSError("disk full")
        >>> tolerance.failed
        True
    """

    def __init__(self, name: str) -> None:
        self.name, self.failed = name, False

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):  # Ctrl-C, or no error
            return False
        if not self.failed:
            line = next(iter(str(error).splitlines()), "") or type(error).__name__
            print(f"{self.name}: cannot log ({line}); training goes on", file=sys.stderr)
        self.failed = True
        return True

"""User errors, reported in one line without a traceback."""

import difflib
import errno
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError
from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel


class FacekpError(Exception):
    """An error that the user can fix; the message names the thing, the value and the remedy."""


class ConfigError(FacekpError, ValueError):
    """A setting has an unusable value."""


class DataError(FacekpError, ValueError):
    """A data set, image or label is unusable."""


class CheckpointError(FacekpError, ValueError):
    """A file is not a usable facekp checkpoint."""


def require(setting: str, value: object, ok: bool, remedy: str) -> None:
    """Raise ConfigError naming the setting, its value and the remedy unless `ok`."""
    if not ok:
        raise ConfigError(f"{setting} is {value!r}: {remedy}")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a user's error as one line on stderr and exit with status 2; our own bugs keep their traceback.

    If stdout's reader has ended, as in `| head`, exit without a word.
    """
    # Hydra would otherwise catch errors first and print them with its own advice around them.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # Otherwise the next file that is opened would take a closed standard stream's number, and what libraries print.
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a file's name may not fit the encoding
    try:
        try:
            try:
                os.getcwd()
            except FileNotFoundError:  # libraries that ask for it would fail in their own ways
                raise ConfigError("the current folder was removed: change into another one") from None
            yield
        finally:
            sys.stdout.flush()  # or else at exit, where its error could not be caught
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_ended():
            sys.exit(141)  # as if ended by SIGPIPE
        message = _users_error(error)
        if message is None:
            raise
        print(f"error: {printable(message)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def run_command(main: Callable[[list[str]], int | None]) -> None:
    """Call a command with the program's arguments, and exit with the status that it returns."""
    with one_line_errors():
        sys.exit(main(sys.argv[1:]))


def _reader_ended() -> bool:
    """Return whether stdout is a pipe that nothing reads; what is left to write is dropped then."""
    try:
        print(flush=True)  # writing alone tells
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, of Python, NumPy, OpenCV, torch or a runtime, says that memory does not suffice."""
    # What OpenCV, torch (on Windows, on CUDA), onnxruntime, OpenVINO and CUDA's libraries say.
    said = (
        "Insufficient memory|can't allocate memory|not enough memory|out of memory|Failed to allocate memory|bad.alloc"
        "|_ALLOC_FAILED"
    )
    return isinstance(error, MemoryError) or re.search(said, str(error)) is not None


def _users_error(error: BaseException | None) -> str | None:
    """Return the message of a user's error; None for a bug."""
    if type(error) is ValueError and isinstance(error.__cause__, OSError):
        error = error.__cause__  # logging wraps that of a log that cannot be written
    if error and not isinstance(error, FacekpError) and is_out_of_memory(error):
        return "memory does not suffice: free some, or give smaller batches or pictures"
    refused = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)  # denied, or a full disk
    if isinstance(error, OSError) and error.errno in refused:
        where = f"'{error.filename}'" if error.filename else "a file"
        return f"{where}: {error.strerror}; grant access, make room, or give another folder"
    if not isinstance(error, FacekpError):
        from hydra.errors import HydraException  # takes a fifth of a second to import, and only training needs it

        if isinstance(error, HydraException | OmegaConfBaseException | YAMLError) or (
            isinstance(error, ValueError) and _is_hydras(error)
        ):
            return explain(error)
    # Lightning, cleaning up after an error of ours, may raise another.
    while isinstance(error, RuntimeError) and not isinstance(error, FacekpError):
        error = error.__cause__ or error.__context__
    return explain(error) if isinstance(error, FacekpError) else None


def _is_hydras(error: Exception) -> bool:
    """Return whether Hydra raised an error, or what it called, rather than facekp."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [name.partition(".")[0] for name in modules if name.startswith(("hydra.", "facekp."))]
    return own[-1:] == ["hydra"]


def explain(error: Exception) -> str:
    """Return a one-line message for a user's error, even if Hydra, OmegaConf or a loader worker raised it."""
    message = str(error) if isinstance(error, FacekpError) else _explain_hydras(error)
    # A loader worker puts its traceback before the message.
    message = message.split("facekp.errors.DataError: ")[-1]
    return "; ".join(line.strip() for line in message.splitlines() if line.strip()).replace(":;", ":")


def _explain_hydras(error: Exception) -> str:
    """Return what an error of Hydra or OmegaConf means; the message of any other."""
    from hydra.errors import MissingConfigException, OverrideParseException

    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        known = [str(key) for key in cause.parent_node]
        group, dot, _ = str(cause.full_key).rpartition(".")
        close = did_you_mean(str(cause.full_key), [f"{group}{dot}{key}" for key in known])
        return f"no setting is called '{cause.full_key}': {close}{group or 'a run'} has {', '.join(known)}"
    if isinstance(cause, MissingConfigException) and cause.options:
        group, _, name = str(cause.missing_cfg_file).rpartition("/")
        return f"{group} is '{name}': {did_you_mean(name, cause.options)}choose one of {', '.join(cause.options)}"
    if isinstance(cause, MissingConfigException) and str(cause).startswith("Cannot find primary config"):
        return f"--config-name is '{cause.missing_cfg_file}': no such file in conf/; leave it out, or name one there"
    if isinstance(cause, OverrideParseException):
        remedy = f"quote its value, as in {quoted(cause.override)}"
        if "=" not in cause.override:
            remedy = "write settings as key=value, as in model=resnet18"
        return f"argument '{cause.override}' cannot be read: {remedy}"
    message = str(cause)
    if isinstance(cause, UnicodeDecodeError):
        return f"a configuration cannot be read ({message}): save those in conf/ as UTF-8"
    if isinstance(cause, YAMLError):
        return f"{message}; correct this YAML, or remove the file"
    if several := re.match(r"Ambiguous value for argument '(.*)'$", message, re.MULTILINE):
        return f"argument '{several[1]}' has several values: add -m to run each, or write {quoted(several[1])} for one"
    if isinstance(cause, OmegaConfBaseException) and "is not a ListConfig" in message:
        return f"{cause.full_key} is not a list: write one in brackets, as in {cause.full_key}=[a,b]"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        remedy = ": give a value of that type" if isinstance(cause, ValidationError) else ""
        message = f"{cause.full_key}: {message.splitlines()[0]}{remedy}"
    return message.split("Config search path:")[0]  # which Hydra lists after the options


def printable(text: str) -> str:
    r"""Return text for a terminal: characters of files' names that it would obey are written as escapes.

    Example:
        >>> print(printable("\x1b[31mred.jpg"))
        \x1b[31mred.jpg
    """
    # What a terminal obeys, lines and tabs aside: escapes, and changes of direction.
    controls = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
    return re.sub(controls, lambda found: found[0].encode("unicode_escape").decode(), text)


def quoted(argument: str) -> str:
    """Return `key=value` with its value, or each item of a list, quoted for Hydra, and all of it for a POSIX shell.

    Example:
        >>> print(quoted("data.root=/x/Face data (1)"))
        'data.root="/x/Face data (1)"'
        >>> print(quoted("data.more=[/x/a (1),/x/b]"))
        'data.more=["/x/a (1)","/x/b"]'
    """
    key, _, value = argument.partition("=")
    listed = re.fullmatch(r"\[(.*)\]", value)
    items = ",".join('"{}"'.format(item.replace('"', r"\"")) for item in (listed[1].split(",") if listed else [value]))
    return shlex.quote(f"{key}=[{items}]" if listed else f"{key}={items}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "did you mean '...'? " for the known name closest to `name`, or "" if none is close."""
    return "".join(f"did you mean '{close}'? " for close in difflib.get_close_matches(name, list(known), 1))

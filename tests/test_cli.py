"""Settings as key=value arguments: what is read, and what each mistake is told."""

import errno
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from io import BytesIO, StringIO, TextIOWrapper
from logging.config import dictConfig
from pathlib import Path
from unittest.mock import patch

import cv2
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, OverrideParseException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import facekp
from facekp.cli import Progress, parse_cli
from facekp.config import DataConfig
from facekp.errors import ConfigError, explain, one_line_errors


@dataclass
class Inner:
    root: str | None = None
    size: int = field(default=512, metadata={"help": "side, pixels"})


@dataclass
class Settings:
    path: str = field(default=MISSING, metadata={"help": "file to read"})
    rate: float = 0.5
    verbose: bool = False
    scales: list[float] = field(default_factory=lambda: [1.0, 2.0])
    workers: int | None = 4
    data: Inner = field(default_factory=Inner)

    def __post_init__(self):
        if self.rate < 0:
            raise ConfigError(f"rate is {self.rate}: give 0 or more")


def parse(*argv):
    return parse_cli(Settings, argv, program="python demo.py", about="Shows how.")


def test_a_file_with_equals_in_its_name_is_no_setting(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a=b.jpg").touch()
    Path("rate=2").touch()
    assert parse("a=b.jpg", "rate=2") == Settings("a=b.jpg", 2.0)
    with pytest.raises(SystemExit), one_line_errors():
        parse("b=c.jpg")
    assert "no setting is called 'b'" in capsys.readouterr().err


def test_every_kind_of_value_is_read_and_arguments_without_equals_are_the_required_settings():
    assert parse("path=a") == Settings(path="a")
    assert parse("rate=2", "a.jpg") == Settings("a.jpg", 2.0)
    text = "path=a=b c;rate=2;verbose=true;scales=[0.5,3];workers=null;data.size=64;data.root=x"
    assert parse(*text.split(";")) == Settings("a=b c", 2.0, True, [0.5, 3.0], None, Inner("x", 64))
    # The last of two counts, and null empties text that is optional.
    assert parse("path=a", "path=b", "data.root=x", "data.root=null") == Settings("b")


@pytest.mark.parametrize("text", ["010", "on", "1e3", "~", "a: b", "[x", "null", "${HOME}/x", "a${b.jpg"])
def test_text_is_taken_as_it_stands(text):
    assert parse(f"path={text}").path == text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["pth=a"], "no setting is called 'pth': did you mean 'path'? known are path, rate, verbose"),
        (["path=a", "root=x"], "no setting is called 'root': did you mean 'data.root'? known are"),
        (["path=a", "data.sise=3"], "no setting is called 'data.sise': did you mean 'data.size'? known are"),
        (["path=a", "zzz=3"], "no setting is called 'zzz': known are path"),
        (["path=a", "--rate=3"], "no setting is called '--rate': did you mean 'rate'?"),
        (["path=a", "data.size=big"], "data.size is 'big': give a whole number (side, pixels)"),
        (["path=a", "rate=fast"], "rate is 'fast': give a number"),
        (["path=a", "scales=[1,"], "scales is '[1,': give a list in brackets, such as [a,b]"),
        (["path=a", "workers=many"], "workers is 'many': give a whole number or null"),
        (["rate=1"], "path is not set: give path=... (file to read)"),
        (["path="], "path is empty: give path=... (file to read)"),
        (["a.jpg", "b.jpg"], "argument 'b.jpg' has no '=': write settings as key=value, as in path=..., and quote"),
        (["path=a", "--verbose"], "argument '--verbose' has no '=': write settings as key=value, as in path=..."),
        (["path=a", "rate=-1"], "rate is -1.0: give 0 or more"),
    ],
)
def test_each_mistake_is_one_line_that_names_it(argv, message, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        parse(*argv)
    (line,) = capsys.readouterr().err.splitlines()
    assert (stop.value.code, line[: 7 + len(message)]) == (2, f"error: {message}")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_setting_with_type_default_and_help(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("path=a", flag)
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    rows = [line.split(maxsplit=3) for line in printed.splitlines() if line.startswith("  ")]
    assert printed.startswith("python demo.py")
    assert "Shows how." in printed
    want = [["path", "str", "required", "file to read"], ["rate", "float", "0.5"], ["verbose", "bool", "false"]]
    assert rows[:3] == want
    assert rows[-1] == ["data.size", "int", "512", "side, pixels"]
    assert {"data.root", "list[float]"} <= {*printed.split()}


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--version")
    assert (stop.value.code, capsys.readouterr().out) == (0, f"facekp {facekp.__version__}\n")


def test_names_outside_the_encoding_of_stdout_are_escaped(monkeypatch):
    written = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(written, encoding="cp1252", write_through=True))
    with one_line_errors():
        print("顔.jpg")
    assert written.getvalue().strip() == rb"\u9854.jpg"


@pytest.mark.parametrize("text", ["short", "longer than the buffer" * 1000])
def test_an_ended_reader_of_stdout_ends_the_command_without_a_word(text, monkeypatch, capsys):
    read, write = os.pipe()
    os.close(read)
    with TextIOWrapper(os.fdopen(write, "wb")) as pipe, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", pipe)
        with pytest.raises(SystemExit) as stop, one_line_errors():
            print(text)
    assert stop.value.code == 141
    assert capsys.readouterr().err == ""
    with pytest.raises(BrokenPipeError), one_line_errors():  # of another pipe
        raise BrokenPipeError


def test_closed_streams_are_opened_to_nowhere(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with one_line_errors():
        assert list(Progress(range(2))) == [0, 1]
        print("lost")
        assert sys.stdin.read() == ""
        assert os.get_inheritable(sys.stderr.fileno())


def test_a_current_folder_that_was_removed_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(SystemExit), one_line_errors():
        pytest.fail("the command began")
    assert capsys.readouterr().err == "error: the current folder was removed: change into another one\n"


def test_an_error_of_ours_is_shown_when_the_trainer_fails_again_after_it_and_a_bug_is_not(capsys):
    def fails_again():
        try:
            raise ConfigError("data.decoded is 'ram': use disk")
        finally:
            raise RuntimeError("Please call `iter(combined_loader)` first.")

    with pytest.raises(SystemExit), one_line_errors():
        fails_again()
    assert capsys.readouterr().err == "error: data.decoded is 'ram': use disk\n"
    for bug in (RuntimeError("a bug"), FileNotFoundError(errno.ENOENT, "No such file or directory", "/results/a.png")):
        with pytest.raises(type(bug)), one_line_errors():
            raise bug


VALUES = ("/x/Face data (1)", "epoch=3,step=5", "set[1]", "données #2", "it's", "{x}", 'a "b"')


@pytest.mark.parametrize(
    ("text", "value"), [*((value, value) for value in VALUES), ("[/x/a (1),/x/b]", ["/x/a (1)", "/x/b"])]
)
def test_an_argument_that_hydra_cannot_read_is_given_back_quoted(text, value):
    parser, argument = OverridesParser.create(), f"data.root={text}"
    with pytest.raises(OverrideParseException) as caught:
        parser.parse_overrides([argument])
    message = explain(caught.value)
    start, _, remedy = message.partition(": quote its value, as in ")
    assert start == f"argument '{argument}' cannot be read"
    (again,) = parser.parse_overrides(shlex.split(remedy))
    assert (again.key_or_group, again.value()) == ("data.root", value)


def test_a_list_is_told_as_one_and_an_argument_with_a_comma_is_one_value_or_several():
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.update(OmegaConf.structured(DataConfig), "scales", 1)
    assert explain(caught.value) == "scales is not a list: write one in brackets, as in scales=[a,b]"
    message = "Ambiguous value for argument 'data.root=a,b'\n1. To use it as a list, use key=[value1,value2]\n2. ..."
    said = "argument 'data.root=a,b' has several values: add -m to run each, or write 'data.root=\"a,b\"' for one"
    assert explain(ConfigCompositionException(message)) == said


def test_progress_in_a_log_is_lines_and_short_work_shows_none(capsys, monkeypatch):
    assert list(Progress(range(3), "parsing")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("facekp.cli.PROGRESS_AFTER", 0)
    monkeypatch.setattr("facekp.cli.LINE_EVERY", 0)
    list(Progress(range(2), "parsing"))
    printed = capsys.readouterr().err
    assert [line.partition(" (")[0] for line in printed.split("\n")[-2:]] == ["parsing: 2 of 2", ""]
    assert "\r" not in printed


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    terminal = StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    list(Progress(range(2), "parsing", delay=0))
    assert "100%|" in terminal.getvalue()


NO_MEMORY = "memory does not suffice: free some, or give smaller batches or pictures"
FULL = errno.ENOSPC, "No space left on device", "/results/a.png"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), NO_MEMORY),
        (cv2.error("(-4:Insufficient memory) Failed to allocate 400000000 bytes"), NO_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), NO_MEMORY),
        (RuntimeError("std::bad_alloc"), NO_MEMORY),
        (Exception("bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 50331648"), NO_MEMORY),
        (OSError(*FULL), f"'{FULL[2]}': {FULL[1]}; grant access, make room, or give another folder"),
        # A terminal obeys no name in a message.
        (ConfigError("image \x1b[31mred\u202egpj: é\tnot found"), "image \\x1b[31mred\\u202egpj: é\tnot found"),
    ],
)
def test_what_is_no_bug_is_one_line(error, said, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert (stop.value.code, capsys.readouterr().err) == (2, f"error: {said}\n")


def test_a_log_that_cannot_be_opened_is_one_line(tmp_path, capsys):
    handlers = {"file": {"class": "logging.FileHandler", "filename": str(tmp_path / "train.log")}}
    full = OSError(errno.ENOSPC, "No space left on device", "train.log")
    with pytest.raises(SystemExit), one_line_errors(), patch("logging.FileHandler._open", side_effect=full):
        dictConfig({"version": 1, "handlers": handlers, "root": {"handlers": ["file"]}})
    assert capsys.readouterr().err.startswith("error: 'train.log': No space left on device; grant access, make room")


@pytest.mark.parametrize(("given", "kept"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_torchs_threads_sleep_while_they_wait(given, kept):
    code = "import facekp, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"  # torch reads it then
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    said = subprocess.check_output([sys.executable, "-c", code], env=others | given, text=True)
    assert said == f"{kept} False\n"

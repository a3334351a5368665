"""The docs: their commands name settings that exist, and their examples and those of docstrings run."""

import doctest
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from textwrap import dedent

import pytest
import yaml
from runs import REPOSITORY, composed

from facekp.__main__ import COMMANDS
from facekp.cli import parse_cli
from facekp.config import MONITORS, Config
from facekp.settings import walk

PAGES = [*sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]
EXTEND = REPOSITORY / "docs" / "guides" / "extend.md"
FENCE = re.compile(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)
PROGRAM = r"(?:python|torchrun).* (train\.py|predict\.py|-m (?:facekp|benchmarks)[\w.]*)(?: .*)?$"
COMMAND = re.compile(rf"{PROGRAM}|facekp .*$")
SMALL = """data.size=64 data.crop=64 data.batch_size=2 data.workers=0 trainer.max_steps=2 trainer.val_every=2 logger=csv
trainer.accelerator=cpu trainer.precision=32-true optim.warmup_steps=1 callbacks.progress=false hydra.run.dir=run"""


class ParsedError(Exception):
    """A command's settings have passed its checks."""


def blocks(page, *languages):
    for _, language, title, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield title, dedent(text)


def commands(page):
    """Return the words of every command of this project, from the program on; `facekp NAME` as `-m facekp.MODULE`."""
    lines = [line for _, text in blocks(page, "sh") for line in text.replace("\\\n", " ").splitlines()]
    found = [match for line in lines if (match := COMMAND.match(line.split("    #")[0]))]
    words = [shlex.split(match[0][max(match.start(1) - match.start(), 0) :]) for match in found]
    modules = [["-m", COMMANDS[w[1]][0], *w[2:]] if w[0] == "facekp" else w for w in words if w[1:] != ["--help"]]
    return [[word for word in w if word[0] != "$"] for w in modules]


def check_command(words, monkeypatch):
    """Let a command check its settings, and stop it there."""
    name = "facekp.predict" if words[0] == "predict.py" else words[1]
    settings = words[1:] if words[0] == "predict.py" else words[2:]
    package = importlib.util.find_spec(name).submodule_search_locations is not None
    command = import_module(f"{name}.__main__" if package else name)
    if name.startswith("benchmarks"):
        parse_cli(command.Options, settings, program="", about="")
        return

    def parse(*args, **kwargs):
        parse_cli(*args, **kwargs)
        raise ParsedError

    with monkeypatch.context() as patch:
        patch.setitem(command.main.__globals__, "parse_cli", parse)
        if command.main.__code__.co_argcount:  # facekp.models takes no settings
            with pytest.raises(ParsedError):
                command.main(settings)


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p) and p != EXTEND], ids=lambda page: page.stem)
def test_commands_name_settings_that_exist(page, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    for words in commands(page):
        if words[0] == "train.py" or words[1] == "facekp.training":  # of a sweep, with the first value of each
            firsts = [re.sub(r"=([\w.]+),.*", r"=\1", word) for word in words[1:] if "=" in word]
            composed(*(word for word in firsts if not word.startswith("hydra")))
            continue
        if words[1] == "facekp.training.search":
            known = {setting.key for setting in walk(Config)} | {"experiment"}
            assert {w.partition("=")[0] for w in words[2:] if not w.startswith("search.")} <= known
        check_command(words, monkeypatch)


def test_a_sweep_of_wandb_gives_settings_that_exist():
    (sweep,) = (yaml.safe_load(text) for title, text in blocks(REPOSITORY / "docs/guides/compare.md", "yaml") if title)
    given = sweep["parameters"].items()
    for end in ("min", "max"):
        drawn = {name: p["values"][-(end == "max")] if "values" in p else p[end] for name, p in given}
        config = composed(*(f"{name}={value}" for name, value in drawn.items()), sweep["command"][-1])
        assert (config.model["name"], config.optim.lr) == (drawn["model"], drawn["optim.lr"])
    assert sweep["metric"]["name"] in MONITORS
    assert sweep["metric"]["goal"] == "maximize"


@pytest.mark.slow
def test_examples_of_prediction_run(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    names = {}
    for page in ("guides/predict.md", "reference/landmarks.md"):
        for _, code in blocks(REPOSITORY / "docs" / page, "python"):
            exec(code, names)
    assert len(names["faces"]) == 1
    assert names["mouth"].number == 48


@pytest.mark.slow
def test_examples_of_extending_run(tiny_root, tmp_path):
    shipped = "facekp/weights/shipped"
    shutil.copytree(REPOSITORY / "facekp", tmp_path / "facekp", ignore=shutil.ignore_patterns("shipped", "__pycache__"))
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    for name in ("train.py", "predict.py"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("docs", shipped):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for title, text in blocks(EXTEND, "python", "yaml"):
        if title:
            (tmp_path / title).write_text(text, encoding="utf-8")
        else:
            exec(text, {})
    for title, text in blocks(EXTEND, "diff"):
        (kept, added), path = (line[1:] for line in text.splitlines()), tmp_path / title
        source = path.read_text(encoding="utf-8")
        assert source.count(f"{kept}\n") == 1, f"{title} has no line '{kept.strip()}'"
        path.write_text(source.replace(kept, f"{kept}\n{added}"), encoding="utf-8")

    words = commands(EXTEND)
    asked = [word for command in words if command[0] == "train.py" for word in command[1:]]
    (predict,) = (command for command in words if command[0] == "predict.py")
    both = [["train.py", *asked, *SMALL.split(), f"data.root={tiny_root}"], predict]
    # In one process, since imports take seconds.
    program = f"import runpy, sys\nfor sys.argv in {both}: runpy.run_path(sys.argv[0], run_name='__main__')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    used = json.loads((tmp_path / "run/metrics.json").read_text(encoding="utf-8"))["settings"]
    assert (used["model"], used["loss"]) == ({"name": "tiny", "width": 64}, {"name": "focal", "gamma": 1.5})
    assert (used["optim"]["name"], used["optim"]["times"], used["trainer"]["benchmark"]) == ("rmsprop", 2, True)
    mark, *lines = (tmp_path / "results/astronaut.points.txt").read_text(encoding="utf-8").splitlines()
    assert mark == "# facekp"
    assert len(lines) > 60
    assert all(re.fullmatch(r"0 \w+ -?[\d.]+ -?[\d.]+", line) for line in lines)


MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for room in ("facekp", "benchmarks")
    for path in sorted((REPOSITORY / room).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_give_what_they_show(name):
    module = pytest.importorskip(name, reason="an extra is not installed")
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failed

"""The package as users install it: the console command, and everything from the wheel alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest
from conftest import PORTRAIT
from runs import REPOSITORY

from facekp.__main__ import COMMANDS
from facekp.weights.paths import TERMS

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Build the wheel, and return the folder it is installed in, with nothing of the checkout."""
    source, folder = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    for name in ("facekp", "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", f"--target={folder}", "."], cwd=source, check=True)
    return folder


@pytest.fixture
def facekp(installed, tmp_path):
    """Return a function that runs the installed command in an empty folder."""

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, installed / "bin" / "facekp", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def files(folder, prefix=""):
    """Return the files below a folder, those that Python has compiled left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {f"{prefix}{path}" for path in found if "__pycache__" not in path.parts}


@pytest.mark.slow
def test_the_wheel_has_every_file_and_predicts_alone(facekp, installed, tmp_path):
    assert files(installed / "facekp") == files(REPOSITORY / "facekp") | files(REPOSITORY / "conf", "conf/")
    assert facekp("--version").stdout == "facekp 0.1.0\n"
    assert facekp("train", "--version").stdout == "facekp 0.1.0\n"
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    done = facekp("predict", "photo.jpg", "out")
    assert done.returncode == 0, done.stderr
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"photo.json", "photo.mask.png", "photo.overlay.jpg"}
    terms = "facekp/weights/shipped/TERMS.md"
    (metadata,) = installed.glob("facekp-*.dist-info/METADATA")
    lines = metadata.read_text(encoding="utf-8").splitlines()
    assert "License-Expression: MIT AND LicenseRef-CelebAMask-HQ-non-commercial" in lines
    licences = [line for line in lines if line.startswith("License-File")]
    assert licences == ["License-File: LICENSE", f"License-File: {terms}"]
    assert "non-commercial research" in (metadata.parent / "licenses" / terms).read_text(encoding="utf-8")
    assert terms in TERMS


@pytest.mark.slow
def test_own_configurations_come_before_the_packages(facekp, tmp_path):
    for seed, place in enumerate(("conf/{}/half", "conf/{}/mine", "elsewhere/{}/half", "elsewhere/{}/new"), 1):
        file = tmp_path / (place.format("experiment") + ".yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# @package _global_\nseed: {seed}\n", encoding="utf-8")
    seeds = {}
    for name in ("half", "mine", "new", "release"):
        done = facekp("train", "--cfg=job", "--package=seed", "--config-dir=elsewhere", f"experiment={name}")
        seeds[name] = done.stdout.splitlines()[-1] if done.returncode == 0 else done.stderr
    assert seeds == {"half": "1", "mine": "2", "new": "4", "release": "0"}


def test_every_command_is_a_module_and_is_listed():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "facekp"], capture_output=True, text=True, check=True
    )
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert "facekp" in done.stderr
    assert "hydra" not in done.stderr  # nothing but the list is imported
    assert {name for name, (module, _) in COMMANDS.items() if find_spec(module) is None} == set()


@pytest.mark.parametrize(("name", "close"), [("predikt", "did you mean 'predict'? "), ("xyz", "")])
def test_an_unknown_command_is_one_line(name, close):
    done = subprocess.run([sys.executable, "-m", "facekp", name], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: no command is called '{name}': {close}known are {', '.join(COMMANDS)}\n"

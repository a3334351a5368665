"""Run folders: each run has its own, and none is entered while another run is under way in it."""

import errno
import pickle
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from facekp.errors import DataError
from facekp.training.claim import ClaimFolder, claim_run, make_new_folder

HOLDER = "import sys; from filelock import FileLock\nwith FileLock(sys.argv[1]): print(); sys.stdin.read()"


@contextmanager
def under_way(folder):
    """Hold the lock of a folder in another process, as a run there does."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "\n"
        yield
        other.communicate("")


@pytest.fixture
def started(monkeypatch):
    """Return the folders of the runs that train.py starts; each ends at once."""
    folders = []

    def run(config):
        folders.append(config.output_dir)
        raise SystemExit(0)

    monkeypatch.setattr("facekp.training.run.run", run)
    return folders


@pytest.mark.slow
def test_two_runs_of_one_second_get_two_folders(train_py, started, tmp_path):
    for second in range(60):
        (tmp_path / "runs" / f"{second:02}").mkdir(parents=True)
    for number in (2, 3):
        train_py("hydra.run.dir=runs/${now:%S}", cwd=tmp_path)
        (made,) = tmp_path.glob(f"runs/*_{number}")
        assert started.pop() == str(made)
        assert (made / ".hydra" / "config.yaml").is_file()
        for second in range(60):
            (tmp_path / "runs" / f"{second:02}_2").mkdir(exist_ok=True)


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_in_its_own_folder(train_py, started, tmp_path):
    for second in range(60):
        (tmp_path / "sweeps" / f"{second:02}").mkdir(parents=True)
    train_py("hydra.sweep.dir=sweeps/${now:%S}", "seed=0,1", "-m", cwd=tmp_path)
    (made,) = tmp_path.glob("sweeps/*_2")
    assert [Path(run) for run in started] == [made / "0-resnet18"]
    assert (made / "multirun.yaml").is_file()


@pytest.mark.parametrize("arguments", [("hydra.run.dir=mine",), ("hydra.sweep.dir=mine", "seed=0,1", "-m")])
@pytest.mark.slow
def test_a_folder_whose_run_is_under_way_is_refused_and_left_as_it_is(arguments, train_py, started, tmp_path, capsys):
    kind = arguments[0].split(".")[1]
    with under_way(tmp_path / "mine"):
        train_py(*arguments, cwd=tmp_path, ends=2)
        remedy = f"wait for its end, or give another hydra.{kind}.dir"
        said = f"error: 'mine': a {kind} is under way in this folder; {remedy}"
        assert capsys.readouterr().err.splitlines()[-1] == said
        assert [path.name for path in (tmp_path / "mine").iterdir()] == [".lock"]
    assert started == []
    train_py(*arguments, cwd=tmp_path)
    assert len(started) == 1


def test_other_processes_neither_claim_the_folder_nor_write_settings(train_py, started, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with under_way(tmp_path / "mine"):
        train_py("hydra.run.dir=mine", cwd=tmp_path)
    assert started == [str(tmp_path / "mine")]
    assert not (tmp_path / "mine" / ".hydra").exists()


def test_torchrun_needs_a_named_folder(train_py, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    train_py(cwd=tmp_path, ends=2)
    assert capsys.readouterr().err.endswith("each process would name a folder by its own clock; give hydra.run.dir=\n")
    assert list(tmp_path.iterdir()) == []


def test_the_callback_travels_to_other_processes_without_its_claim(tmp_path):
    callback = ClaimFolder()
    callback.held = claim_run(tmp_path)
    assert vars(pickle.loads(pickle.dumps(callback))) == {}


def test_a_run_claims_its_folder_again_within_its_process(tmp_path):
    with claim_run(tmp_path), claim_run(tmp_path):
        pass
    with under_way(tmp_path), pytest.raises(DataError, match="a run is under way"):
        claim_run(tmp_path)


def test_a_new_folder_is_the_first_free_one(tmp_path):
    names = [make_new_folder(tmp_path / "a" / "b").name for _ in range(3)]
    assert names == ["b", "b_2", "b_3"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("hydra.run.dir=mine",), ".hydra/hydra.yaml"), (("hydra.sweep.dir=mine", "seed=0,1", "-m"), "multirun.yaml")],
)
def test_the_settings_of_another_program_of_hydras_are_kept(arguments, name, train_py, started, tmp_path, capsys):
    theirs = tmp_path / "mine" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("hydra:\n  job:\n    name: other\n")
    train_py(*arguments, cwd=tmp_path, ends=2)
    assert started == []
    assert capsys.readouterr().err.startswith(f"error: 'mine/{name}': would be replaced, but this command did not")
    assert theirs.read_text() == "hydra:\n  job:\n    name: other\n"
    assert len(list((tmp_path / "mine").iterdir())) == 1


def test_a_file_system_without_locks_is_gone_on_with_and_a_full_one_is_said(tmp_path):
    for error in (OSError(errno.ENOLCK, "no locks"), NotImplementedError("no flock")):
        with patch("facekp.files.FileLock.acquire", side_effect=error), claim_run(tmp_path):
            pass
    error, said = OSError(errno.ENOSPC, "No space left"), r"lock': cannot be written \(No space left\); make room, or"
    with patch("facekp.files.FileLock.acquire", side_effect=error), pytest.raises(DataError, match=said):
        claim_run(tmp_path)

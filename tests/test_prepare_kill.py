"""Preparation that is killed: at every step of one process, and in several; nothing is lost, spoilt or done again."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from helpers.official import MASKS, SIDE, contents, write_official
from tqdm import tqdm

from facekp.data.prepare.build import prepare
from facekp.data.prepare.workers import run_in_processes
from facekp.errors import DataError
from facekp.images import read_image

# Six faces: source.json, an image and a label each, summary.json, index.csv.
FILES = 15
MOMENTS = ("half", "before", "after")

DRIVER = """
import os, signal, sys
from pathlib import Path
from facekp import files as folder
from facekp.data.prepare import build as module

raw, outs = Path(sys.argv[1]), Path(sys.argv[2])
assert "torch" not in sys.modules, "preparing data needs no torch"
replace = os.replace

def killed_at(number, moment):
    count = 0

    def deadly(source, target):
        nonlocal count
        count += 1
        if count == number and moment == "half":
            os.truncate(source, os.path.getsize(source) // 2)
        if count == number and moment != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return deadly

for number in range(1, int(sys.argv[3]) + 1):
    for moment in sys.argv[4:]:
        child = os.fork()
        if not child:
            os.replace = killed_at(number, moment)
            module.prepare(raw, outs / f"{number}-{moment}", size=64, workers=1)
            os._exit(0)
        print(number, moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def pairs(root):
    """Times of the files of every face whose image and label are both there."""
    images, labels = ({path.stem: path for path in (root / name).glob("0*")} for name in ("images", "labels"))
    both = images.keys() & labels.keys()
    return {str(path): path.stat().st_mtime_ns for name in both for path in (images[name], labels[name])}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_step_spoils_nothing_and_the_next_start_does_only_what_is_missing(tmp_path):
    raw, whole, outs = write_official(tmp_path / "raw"), tmp_path / "whole", tmp_path / "outs"
    prepare(raw, whole, size=SIDE, workers=1)
    expected = contents(whole)
    assert len(expected) == FILES
    command = [sys.executable, "-c", DRIVER, raw, outs, str(FILES), *MOMENTS]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    ends = [f"{number} {moment} {-signal.SIGKILL}" for number in range(1, FILES + 1) for moment in MOMENTS]
    assert run.stdout.splitlines() == ends, run.stderr
    for out in outs.iterdir():
        number, moment = out.name.split("-")
        left = {name: data for name, data in contents(out).items() if not name.endswith(".part")}
        # Each file stands as it will be at the end, or not at all; the index is the last.
        assert left == {name: expected[name] for name in left}, out.name
        assert len(left) == int(number) - (moment != "after"), out.name
        assert ("index.csv" in left) == (out.name == f"{FILES}-after")
        before = pairs(out)
        again = prepare(raw, out, size=SIDE, workers=1)
        assert again.written == 6 - len(before) // 2, out.name
        assert before.items() <= pairs(out).items(), out.name
        assert contents(out) == expected, out.name


@pytest.fixture
def stuck(tmp_path):
    """Start a preparation in two processes, one of which waits for ever on a mask that is a pipe; give raw and out."""
    raw, out = write_official(tmp_path / "raw", faces=24), tmp_path / "out"
    mask = raw / MASKS / "0" / "00002_nose.png"
    mask.rename(raw / "kept.png")
    os.mkfifo(mask)
    arguments = [f"raw={raw}", f"out={out}", f"size={SIDE}", "workers=2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "facekp.data.prepare", *arguments],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Tests that run in a shell's background would hand on that they ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        # Four faces are sent at a time, and the pipe is in the first four.
        _wait(lambda: len(list((out / "labels").glob("0*"))) == 24 - 2, run)
        yield run, raw, out
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)  # it leads a session of all that it has started
        run.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("stopped", ["parent", "child", "terminal"])
def test_stopped_processes_end_and_the_next_start_completes(stopped, stuck, tmp_path):
    run, raw, out = stuck
    mask = raw / MASKS / "0" / "00002_nose.png"
    children = [int(child) for child in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    assert len(children) >= 2
    if stopped == "parent":
        run.kill()
        assert run.wait() == -signal.SIGKILL
    elif stopped == "child":
        for pid in children:
            if "popen_loky" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
        error = run.communicate(timeout=30)[1].splitlines()[-1]
        assert run.returncode == 2
        assert error.startswith("error: one of 2 processes was killed (out of memory?): start again with fewer")
    else:
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
        error = run.communicate(timeout=30)[1]
        assert run.returncode == 130
        assert "interrupted" in error.splitlines()  # loky's tracker may warn of what it found cleaned up already
        assert "Traceback" not in error
    _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert not (out / "index.csv").exists()
    mask.unlink()
    (raw / "kept.png").rename(mask)
    before = pairs(out)
    assert prepare(raw, out, size=SIDE).written == 24 - len(before) // 2
    assert before.items() <= pairs(out).items()
    prepare(raw, tmp_path / "whole", size=SIDE)
    assert contents(out) == contents(tmp_path / "whole")


def test_files_without_their_end_are_written_again(tmp_path):
    raw, out = write_official(tmp_path / "raw"), tmp_path / "out"
    prepare(raw, out, size=SIDE)
    expected = contents(out)
    for name in ("images/00001.jpg", "labels/00004.png"):
        os.truncate(out / name, len(expected[name]) // 2)
    (out / "images" / "00005.jpg").write_bytes(b"")
    (out / "index.csv").unlink()
    assert prepare(raw, out, size=SIDE).written == 3
    assert contents(out) == expected


def test_a_face_whose_masks_were_not_all_unpacked_is_prepared_again(tmp_path):
    raw, out = write_official(tmp_path / "raw"), tmp_path / "out"
    mask = raw / MASKS / "1" / "00003_hair.png"
    mask.rename(raw / "hair.png")
    prepare(raw, out, size=SIDE)
    (out / "index.csv").unlink()
    (raw / "hair.png").rename(mask)
    assert prepare(raw, out, size=SIDE).written == 1
    prepare(raw, tmp_path / "whole", size=SIDE)
    assert (out / "labels/00003.png").read_bytes() == (tmp_path / "whole/labels/00003.png").read_bytes()


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path):
    raw = write_official(tmp_path / "raw")
    for count in (1, 2):
        prepare(raw, tmp_path / str(count), size=SIDE, workers=count)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once(tmp_path):
    raw, script = write_official(tmp_path / "raw"), tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from facekp.data.prepare.build import prepare\nprint('started', flush=True)\n"
        f"print(prepare(Path({str(raw)!r}), Path({str(tmp_path / 'out')!r}), size=64, workers=2).written)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines() == ["started", "6"], run.stderr


def test_few_things_start_no_process(monkeypatch):
    monkeypatch.setattr("loky.ProcessPoolExecutor", lambda *args: pytest.fail("a process was started"))
    assert list(run_in_processes(abs, range(-99, 0))) == list(range(99, 0, -1))


@pytest.mark.slow
def test_an_error_in_a_process_is_raised_as_it_is():
    with pytest.raises(DataError, match=r"image nowhere.jpg: cannot be read"):
        list(run_in_processes(read_image, ["nowhere.jpg"] * 2, workers=2))


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock_behind():
    assert list(run_in_processes(_progress_lock, [0, 1], workers=2)) == ["RLock", "RLock"]  # a thread's


def _progress_lock(_):
    return type(tqdm.get_lock()).__name__


def _wait(ready, run=None):
    """Wait until `ready`; half a minute is long enough on a busy machine."""
    end = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < end
        assert run is None or run.poll() is None, run.communicate()[1]
        time.sleep(0.02)

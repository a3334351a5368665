"""Memory: what a process keeps, and what it gives back."""

import gc
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from facekp.hardware import import_large
from facekp.training.callbacks import Cost

REPOSITORY = Path(__file__).parents[1]
# 64 MiB: what a batch of images takes, and more than glibc lets M_MMAP_THRESHOLD keep. glibc sets up to seven of them
# aside before it takes one again: small blocks behind them wait in a cache of seven.
PROGRAM = """
import resource, torch
from facekp.hardware import keep_freed_memory, peak_memory, read_status, reset_peak_memory, return_freed_memory
keep_freed_memory()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
for side in (1 << 13, 1):
    return_freed_memory()
    print(reset_peak_memory())
    before = read_status("VmRSS")
    torch.ones(side, side).sum().item()
    print(peak_memory(torch.device("cpu")) - before, before)
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator is left as it is"),
]


@pytest.fixture(scope="module")
def printed():
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_large_tensor_takes_the_memory_of_the_one_before(printed):
    faults = [int(line) for line in printed[:20]]
    assert faults[0] >= (1 << 26) / (2 << 20)  # pages of 4 KiB, or of 2 MiB where the system has those
    assert max(faults[10:]) <= faults[0] / 10


def test_a_run_does_not_count_what_the_run_before_it_held(printed, monkeypatch):
    begun = []
    for name in ("return_freed_memory", "reset_peak_memory"):
        monkeypatch.setattr(f"facekp.training.callbacks.{name}", lambda name=name: begun.append(name))
    Cost(1).on_train_start(None, None)
    assert begun == ["return_freed_memory", "reset_peak_memory"]
    if printed[20] == "False":
        pytest.skip("the system does not let a process forget its peak")
    (first, least), (second, held) = ([float(n) for n in line.split()] for line in printed[21::2])
    assert first == pytest.approx(256, rel=0.1)  # MiB of 2 ** 26 float32
    assert second < 50
    assert held - least < 100


def test_a_large_module_is_left_out_of_garbage_collection(tmp_path, monkeypatch):
    (tmp_path / "large_module.py").write_text("import gc\ncollected = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    frozen = gc.get_freeze_count()
    import_large("large_module")
    assert not sys.modules.pop("large_module").collected
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen

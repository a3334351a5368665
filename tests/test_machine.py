"""What commands ask of the machine they run on."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# 64 MiB: what a batch of images takes, and more than glibc lets M_MMAP_THRESHOLD keep. glibc sets up to seven of them
# aside before it takes one again: small blocks behind them wait in a cache of seven.
PROGRAM = """
import resource, torch
from facekp.machine import keep_freed_memory
keep_freed_memory()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator is left as it is")
def test_a_large_tensor_takes_the_memory_of_the_one_before():
    run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    faults = [int(line) for line in run.stdout.split()]
    assert faults[0] >= (1 << 26) / (2 << 20)  # pages of 4 KiB, or of 2 MiB where the system has those
    assert max(faults[10:]) <= faults[0] / 10

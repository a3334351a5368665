"""The campaign against faults: what it takes for whole and for lost, and a small run of it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import run_train

pytest.importorskip("av", reason="needs the extra video")
from benchmarks.campaign import world
from benchmarks.campaign.__main__ import Options, main
from benchmarks.campaign.damage import broken
from benchmarks.campaign.surroundings import escaped
from benchmarks.campaign.world import Ended, halves, run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_files_that_are_not_whole_are_named(tmp_path):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "whole.csv").write_text("a,b\n1,2\n")
    assert halves(tmp_path) == []
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "half.csv").write_text("a,b\n1,")
    (tmp_path / "half.json").write_text('{"a": ')
    (tmp_path / ".half.json.1.part").write_text('{"a": ')
    assert [line.split()[0] for line in halves(tmp_path)] == ["half.csv", "half.json", "half.png"]


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (lambda: 0, ""),
        (lambda: exec("raise SystemExit(2)"), "no message: "),
        (lambda: os.kill(os.getpid(), 9), "ended with -9: "),
        (lambda: 1 / 0, "traceback: ZeroDivisionError: division by zero"),
        (lambda: exec("while True: pass"), "hung"),
    ],
)
def test_how_a_command_ends_is_judged(end, problem):
    assert run(end, 0.5).problem == problem


def test_a_users_error_is_one_line():
    assert Ended(2, "parsing\nerror: no such file").problem == ""
    assert Ended(0, "", memory=5000).problem == "took 5000 MiB"


def test_formulas_and_handlers_are_found(tmp_path):
    (tmp_path / "a.csv").write_text("name,x\n=1+1,-2.5\n'=1+1,3\n")
    (tmp_path / "a.html").write_text("<p>&lt;img onerror=1&gt;</p><img onerror=1>")
    assert list(escaped(tmp_path)) == ["a.csv: the cell '=1+1' is a formula", "'a.html': img onerror"]


def test_damage_is_seeded_and_always_a_change_of_some_bytes():
    content = bytes(range(256)) * 8
    made = [broken(content, [b"header"], np.random.default_rng(i)) for i in range(50)]
    assert made == [broken(content, [b"header"], np.random.default_rng(i)) for i in range(50)]
    assert len(set(made)) > 45


@pytest.mark.slow
def test_small_campaigns_add_up(tmp_path, monkeypatch, capsys):
    def succeed(command, out):  # torch does not train in a fork of a process that has trained, as other tests do
        if command[0] == "train.py":
            run_train(*(word.replace(world.OUT, str(out)) for word in command[1:]))
        else:
            in_a_fork(command, out)

    in_a_fork = world.succeed
    monkeypatch.setattr(world, "succeed", succeed)
    out, work = str(tmp_path / "campaign.json"), str(tmp_path / "work")
    for seed in (0, 1):
        main(Options(parts=["inputs"], cases=["JPG", "mapping"], inputs=2, seed=seed, out=out, work=work))
    main(Options(parts=["code", "kills"], cases=["prepare"], kills=2, out=out, work=work))
    found = json.loads(Path(out).read_text())["runs"]
    assert [row["failures"] for run in found for row in run["rows"] if row["failures"]] == []
    lines = [[cell.strip() for cell in line.split("|")[1:4]] for line in capsys.readouterr().out.splitlines()]
    assert lines[-4:] == [
        ["inputs", "JPG", "2"], ["inputs", "mapping", "2"], ["code", "checkpoint that runs code", "12"],
        ["kills", "prepare", "2"],
    ]  # fmt: skip

"""A small world to break: faces, a network, photos and a clip; running commands on it, and judging what is left."""

import csv
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from runpy import run_path
from socket import socket
from typing import IO, Final

import numpy as np
import torch
import yaml  # type: ignore[import-untyped,unused-ignore]
from PIL import Image
from safetensors.torch import load_file

from facekp.errors import one_line_errors
from facekp.predict.video_io import VideoReader, VideoWriter
from facekp.training.rows import read_rows

HANG: Final = 30  # seconds after which an input hangs; whole commands may take `PATIENCE`
PATIENCE: Final = 300
MEMORY: Final = 4096  # MiB above which a command takes too much
CLOCK: Final = {"seconds", "train/images_per_second", "train/peak_memory"}  # columns that differ in equal runs
OUT: Final = "{out}"
CLIP: Final = "clip.mp4"
PRELOAD: Final = (
    "facekp.compare.plots", "facekp.compare.report", "facekp.data.audit.run", "facekp.data.prepare.build",
    "facekp.evaluate", "facekp.export.onnx", "facekp.export.release", "facekp.predict.run", "facekp.predict.videos",
    "facekp.training.run", "hydra.main", "onnxruntime", "onnxscript", "pandas", "timm", "torch.onnx",
)  # fmt: skip
"""What commands import when they run: imported once, before they are forked."""
FORMATS: Final = "[mask,overlay,json,svg,labelme,coco,csv]"


@dataclass
class Row:
    """A case, how often it was tried, how many inputs gave results, and what went wrong, a line for each."""

    part: str
    case: str
    tried: int = 0
    results: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def add(self, name: str, *problems: str) -> None:
        """Count a try, with its problems; empty ones are none."""
        self.tried += 1
        self.failures += [f"{name}: {problem}" for problem in problems if problem]


@dataclass(frozen=True)
class World:
    """The folder of everything; `commands` are whole ones by name, with `{out}` for their result."""

    folder: Path
    cases: tuple[str, ...] = ()

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Return the cases to try: all of a part, or those of `cases`."""
        return [name for name in names if not self.cases or name in self.cases]

    @property
    def checkpoint(self) -> Path:
        """A trained network."""
        return self.folder / "run" / "checkpoints" / "best.ckpt"

    @property
    def predict(self) -> list[str]:
        """The beginning of a command that parses photos."""
        return ["predict.py", f"ckpt={self.checkpoint}", f"out={OUT}", "align=none", "device=cpu"]

    @property
    def commands(self) -> dict[str, list[str]]:
        """Commands that write, each as arguments of Python."""
        w = self.folder
        prepare = ["-m", "facekp.data.prepare", f"raw={w / 'raw'}", f"out={OUT}", "size=64"]
        release = ["-m", "facekp.export.release", f"ckpt={self.checkpoint}", f"out={OUT}/net.safetensors"]
        return {
            "prepare": [*prepare, "workers=1"],
            "prepare in 2 processes": [*prepare, "workers=2"],
            "train": self.train("data.workers=0"),
            "train with 2 workers": self.train("data.workers=2"),
            "train with DDP of 2": self.train("data.workers=0", "trainer=ddp", "trainer.devices=2"),
            "predict photos": [*self.predict, f"source={w / 'photos'}", f"export={FORMATS}"],
            "predict a video": [*self.predict, f"source={w / CLIP}"],
            "export": ["-m", "facekp.export", f"ckpt={self.checkpoint}", f"out={OUT}/net.onnx"],
            "release": [*release, f"data.root={w / 'faces'}", "data.workers=0", "device=cpu"],
            "compare": ["-m", "facekp.compare", f"{w / 'run'}", f"out={OUT}"],
        }

    @property
    def alone(self) -> dict[str, list[str]]:
        """Those that are a single process."""
        return {name: command for name, command in self.commands.items() if " 2" not in name}

    def train(self, *more: str) -> list[str]:
        """Return a command of a few steps."""
        return [
            "train.py", f"data.root={self.folder / 'faces'}", "logger=csv", "model=fpn", "model.trunk=lcnet_035",
            "data.size=64", "data.crop=64", "data.batch_size=4", "callbacks.progress=false", "optim.warmup_steps=1",
            "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_steps=6", "trainer.val_every=2",
            "trainer.log_every=1", f"hydra.run.dir={OUT}", *more,
        ]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended: `code` is its exit status, negative for a signal, None if it hung; `memory` is in MiB."""

    code: int | None
    said: str
    memory: float = 0.0

    @property
    def problem(self) -> str:
        """What is wrong with that; empty if it succeeded, or ended in one line."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if self.code is None:
            return "hung"
        if "Traceback (most recent call last)" in self.said:
            return f"traceback: {last}"
        if self.code not in (0, 1, 2):
            return f"ended with {self.code}: {last}"
        if self.code and not last.startswith("error: "):
            return f"no message: {last}"
        return f"took {self.memory:.0f} MiB" if self.memory > MEMORY else ""


def build(folder: Path, cases: Iterable[str] = (), faces: int = 12) -> World:
    """Make everything that commands need."""
    world = World(folder, tuple(cases))
    for module in PRELOAD:
        import_module(module)
    if (folder / CLIP).is_file():  # the last thing that is made
        return world
    counts = (f"train={faces}", "val=4", "test=2", "size=128")
    for arguments, out in (
        (["-m", "facekp.data.synthetic", f"out={OUT}", *counts], folder / "raw"),
        (["-m", "facekp.data.prepare", f"raw={folder / 'raw'}", f"out={OUT}", "size=64"], folder / "faces"),
        (world.train("data.workers=0"), folder / "run"),
        (world.commands["release"], folder / "net"),
    ):  # fmt: skip
        succeed(arguments, out)
    (folder / "photos").mkdir()
    pictures = [Image.open(path) for path in sorted((folder / "faces" / "images").glob("*.jpg"))[:6]]
    for i, picture in enumerate(pictures):
        picture.save(folder / "photos" / f"{i}.jpg")
    with VideoWriter(folder / CLIP, Fraction(30)) as clip:
        for i in range(12):
            clip.write(np.asarray(pictures[i % len(pictures)].convert("RGB")), i / 30)
    return world


def succeed(command: Sequence[str], out: Path) -> None:
    """Run a command that must succeed."""
    ended = run(called(command, out), PATIENCE)
    if ended.code:
        raise RuntimeError(f"{command}: {ended.said}")


def called(command: Sequence[str], out: Path) -> Callable[[], object]:
    """Return a function that does what a command does, in this process."""
    arguments = [argument.replace(OUT, str(out)) for argument in command]
    first, *rest = arguments
    if first == "train.py":

        def train() -> int:
            os.chdir(Path(__file__).parents[2])
            sys.argv = [first, *rest]
            other = join_second_process() if "trainer=ddp" in rest else None
            run_path(first, run_name="__main__")
            return os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) if other else 0

        return train
    module = import_module({"predict.py": "facekp.predict"}.get(first) or rest.pop(0))
    main = import_module(f"{module.__name__}.__main__" if hasattr(module, "__path__") else module.__name__).main
    return lambda: main(rest)


def join_second_process() -> int:
    """Fork a second process of a run, which begins as torchrun's do; return it, and 0 in the second."""
    with closing(socket()) as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    other = os.fork()
    os.environ |= {"TORCHELASTIC_RUN_ID": "campaign", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
                   "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
                   "RANK": str(int(not other)), "LOCAL_RANK": str(int(not other))}  # fmt: skip
    return other


def start(call: Callable[[], object]) -> tuple[int, IO[bytes]]:
    """Call `call` as a command would be, in a fork of this process: it has imported all, which would take seconds.

    Returns:
        The process, the leader of a session, and the file of what it prints.
    """
    said = tempfile.TemporaryFile()  # noqa: SIM115  # `finish` closes it
    if child := os.fork():
        return child, said
    code: object = 99  # after a traceback
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", errors="backslashreplace") for n in (1, 2))
        with one_line_errors():
            code = call() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else bool(error.code)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(int(code) if isinstance(code, int) else 98)


def finish(child: int, said: IO[bytes], limit: float = HANG) -> Ended:
    """Wait for a process of `start`, and end what it leaves."""
    before, ended, status, used = time.monotonic(), 0, 0, 0
    while not ended and time.monotonic() - before < limit:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        used = usage.ru_maxrss
        time.sleep(0 if ended else 0.01)
    end_session(child)
    if not ended:
        os.waitpid(child, 0)
    with said:
        said.seek(0)
        text = said.read().decode(errors="replace")
    return Ended(os.waitstatus_to_exitcode(status) if ended else None, text, used / 1024)


def run(call: Callable[[], object], limit: float = HANG) -> Ended:
    """Call `call` as a command would be, to its end."""
    return finish(*start(call), limit)


def running(process: int | str = "[0-9]*") -> dict[int, int]:
    """Return the leader of the session of each process that runs still: of one, or of all."""
    found = {}
    for path in Path("/proc").glob(f"{process}/stat"):
        with suppress(OSError):  # it has just ended
            state, _, _, leader = path.read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                found[int(path.parent.name)] = int(leader)
    return found


def undisturbed(world: World, name: str) -> tuple[Path, float, float]:
    """Run a command undisturbed, once for each world.

    Returns:
        The folder of its results, and the seconds until it began to write and until it ended.
    """
    folder = world.folder / "undisturbed" / name.replace(" ", "-")
    out, times = folder / "out", folder / "seconds"
    if not times.exists():
        shutil.rmtree(folder, ignore_errors=True)
        before, (process, said) = time.monotonic(), start(called(world.commands[name], out))
        while not out.exists() and running(process):
            time.sleep(0.01)
        began, ended = time.monotonic(), finish(process, said, PATIENCE)
        if ended.code:
            raise RuntimeError(f"{name}: {ended.said}")
        times.write_text(f"{began - before} {time.monotonic() - before}")
    began, took = map(float, times.read_text().split())
    return out, began, took


def end_session(leader: int, patience: float = 0) -> list[int]:
    """Kill what a session's leader has left behind after some seconds; return those processes."""
    end = time.monotonic() + patience
    while (left := [own for own, first in running().items() if first == leader]) and time.monotonic() < end:
        time.sleep(0.1)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return left


def results(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by name, without locks, and without what is being written."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path for path in files if not path.name.endswith(".part")}


def halves(folder: Path) -> list[str]:
    """Return a line for each file below a folder that is not whole."""
    found = []
    for name, path in results(folder).items():
        try:
            require_whole(path)
        except Exception as error:
            found.append(f"{name} is not whole ({type(error).__name__}: {error})")
    return found


def judge(ended: Ended, out: Path) -> list[str]:
    """Return what is wrong with the end of a command, and with what it has written."""
    found = [ended.problem, *(halves(out) if out.exists() else [])]
    return found + [f"{path.name} is left over" for path in out.rglob("*.part")]


def require_whole(path: Path) -> None:
    """Raise an error unless a file is complete, judged by its kind."""
    kind = path.suffix
    readers: dict[str, Callable[[], object]] = {
        ".jpg": lambda: np.asarray(Image.open(path)),
        ".png": lambda: np.asarray(Image.open(path)),
        ".json": lambda: json.loads(path.read_text()),
        ".jsonl": lambda: [json.loads(line) for line in path.read_text().splitlines()],
        ".svg": lambda: ET.parse(path),
        ".ckpt": lambda: torch.load(path, weights_only=True),
        ".safetensors": lambda: load_file(path),
        ".onnx": lambda: import_module("onnx").load(path),
        ".yaml": lambda: yaml.safe_load(path.read_text()),
    }
    if kind in readers:
        readers[kind]()
    elif kind == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        if len({len(row) for row in rows}) != 1 or not path.read_bytes().endswith(b"\n"):
            raise ValueError("rows of different lengths, or no end of the last one")
    elif kind == ".mp4":
        with VideoReader(path) as video:
            if any(frame.image is None for frame in video) or video.missing:
                raise ValueError("frames are missing")
    elif kind == ".html" and not path.read_text().rstrip().endswith("</html>"):
        raise ValueError("no end")


def differences(found: Path, wanted: Path) -> list[str]:
    """Return how the results in a folder differ from those of an undisturbed command."""
    ours, theirs = results(found), results(wanted)
    lines = [f"{name} is missing" for name in theirs.keys() - ours.keys()]
    lines += [f"{name} is left over" for name in ours.keys() - theirs.keys()]
    for name in ours.keys() & theirs.keys():
        if name.endswith(".ckpt"):
            a, b = (torch.load(path, weights_only=True)["state_dict"] for path in (ours[name], theirs[name]))
            same = a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        elif name == "metrics.csv":
            a, b = ([{k: repr(v) for k, v in row.items() if k not in CLOCK} for row in read_rows(path)]
                    for path in (ours[name], theirs[name]))  # fmt: skip
            same = a == b
        elif name.endswith((".png", ".jpg", ".jsonl", ".mp4", ".svg", ".onnx", ".safetensors", "annotations.json")):
            same = ours[name].read_bytes() == theirs[name].read_bytes()
        else:
            same = True  # times and folders differ
        lines += [] if same else [f"{name} differs"]
    return lines

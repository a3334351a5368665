"""Killed commands, calls that fail, and damaged files."""

import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from benchmarks.campaign.world import (
    CLIP,
    FORMATS,
    HANG,
    OUT,
    PATIENCE,
    Ended,
    Row,
    World,
    called,
    differences,
    end_session,
    halves,
    judge,
    run,
    running,
    start,
    succeed,
    undisturbed,
)
from facekp.classes import CELEBAMASK_HQ
from facekp.data.layout import OFFICIAL_MAPPING

Random = np.random.Generator


def kills(world: World, rng: Random, count: int) -> Iterator[Row]:
    """Kill whole commands; what is left must be whole, and the next start must complete it.

    Half are killed at a random moment, half while they write the first file after it.
    """
    names = rng.permutation(world.chosen(world.commands)).tolist()
    for name, share in Counter(names[i % len(names)] for i in range(count)).items():
        row, command = Row("kills", name), world.commands[name]
        wanted, began, took = undisturbed(world, name)
        for i in range(10 * share):
            if row.tried == share:
                break
            # As deep as the undisturbed one, for SVG files name their photo from where they are.
            out = world.folder / "kills" / f"{name.replace(' ', '-')}-{i}" / "out"
            moment, writes = rng.uniform(0.9 * began, took), rng.random() < 0.5  # earlier, there is nothing to lose
            process, said = start(called(command, out))
            time.sleep(moment)
            end = time.monotonic() + took
            while writes and time.monotonic() < end and running(process) and not is_writing(out):
                time.sleep(0.001)
            killed = running(process)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            said.close()
            left = end_session(process, patience=20)
            problems = [f"{len(left)} processes are left"] if left else []
            problems += halves(out) if out.exists() else []
            if killed or problems:  # else it had ended
                again = run(called(command, out), PATIENCE)
                failed = again.problem or again.said * bool(again.code)
                row.add(f"kill {i}", *problems, failed, *differences(out, wanted))
                yield row
            if not row.failures:
                shutil.rmtree(out.parent)


def is_writing(folder: Path) -> bool:
    """Return whether a file is being written below a folder."""
    with suppress(FileNotFoundError):  # one of the folders has just been removed
        return any(folder.rglob(".*.part"))
    return False


NO_ROOM: Final = os.strerror(28)


def _fail(at: int, below: Path, counted: Path) -> None:
    """Let the `at`-th call of Python's that writes below a folder raise ENOSPC, in this process for ever."""
    events = ("os.rename", "os.mkdir", "os.truncate", "os.link", "os.symlink")
    flags, seen = os.O_WRONLY | os.O_RDWR | os.O_CREAT, 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event in events or (event == "open" and isinstance(args[2], int) and args[2] & flags)
        # What fails to make a folder that is there has lost nothing.
        harmless = event == "os.mkdir" and os.path.isdir(args[0])
        if writes and not harmless and isinstance(args[0], str | Path) and str(args[0]).startswith(str(below)):
            seen += 1
            if at == 0:
                counted.write_text(str(seen))
            if seen == at:
                counted.with_name(f"failed-{at}").touch()
                raise OSError(28, NO_ROOM, str(args[0]))

    sys.addaudithook(hook)


def faults(world: World, rng: Random, count: int) -> Iterator[Row]:
    """Let calls that write fail, one in each try: up to `count` of each command, evenly spread."""
    for name in world.chosen(world.alone):
        command = world.alone[name]
        row, base = Row("faults", name), world.folder / "faults" / name.replace(" ", "-")
        base.mkdir(parents=True)
        counted = base / "counted"

        def attempt(at: int, command: list[str] = command, base: Path = base, counted: Path = counted) -> list[str]:
            def call() -> object:
                _fail(at, base / str(at), counted)
                return called(command, base / str(at))()

            ended = run(call, 120)
            failed = (base / f"failed-{at}").exists()  # not if this run writes less often
            unsaid = failed and not ended.code and NO_ROOM not in ended.said  # a log that cannot be written ends no run
            return [*judge(ended, base / str(at)), "is not noticed" if unsaid else ""]

        row.add("undisturbed", *attempt(0))
        writes = int(counted.read_text())
        row.note = f"{writes} calls"
        for at in np.unique(np.linspace(1, writes, min(count, writes)).round().astype(int)):
            row.add(f"call {at}", *attempt(at))
            shutil.rmtree(base / str(at), ignore_errors=True)
            yield row


def broken(content: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Return a file with one change or a few: bits, bytes put in or taken out, extreme numbers, another's beginning."""
    data = bytearray(content)
    for _ in range(rng.geometric(0.5)):
        # Headers are short, and more depends on them.
        at = int(rng.integers(max(1, len(data) if rng.random() < 0.5 else min(512, len(data)))))
        some, other = int(rng.integers(1, 64)), others[int(rng.integers(len(others)))]
        match rng.integers(6):
            case 0:
                data[at : at + 1] = bytes(byte ^ 1 << rng.integers(8) for byte in data[at : at + 1])
            case 1:
                del data[at : at + some]
            case 2:
                data[at:at] = rng.bytes(some)
            case 3:
                data[at : at + 4] = (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4)[rng.integers(3)]
            case 4:
                del data[at:]
            case _:
                data[: len(other[:at])] = other[:at]
    return bytes(data)


def inputs(world: World, rng: Random, count: int) -> Iterator[Row]:
    """Damage files of every kind that is read."""
    w = world.folder
    made = w / "inputs"
    made.mkdir()
    photo, exif = Image.open(w / "photos" / "0.jpg"), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "</svg>"
    for kind in (photos := ("jpg", "png", "webp", "tiff", "gif")):
        photo.save(made / f"a.{kind}", exif=exif)
    (made / "ids.yaml").write_text("".join(f"{name}: {i}\n" for i, name in enumerate(CELEBAMASK_HQ.names)))
    label = min((w / "faces" / "labels").iterdir()).name
    photos_of = ["predict.py", "align=none", "device=cpu", f"out={OUT}", f"source={made / 'a.jpg'}", "ckpt={copy}"]
    parse = [*world.predict, "source={case}", f"export={FORMATS}"]
    score = ["-m", "facekp.evaluate", f"ckpt={world.checkpoint}", "data.root={copy}", "split=train", "data.workers=0",
             "device=cpu", f"out={OUT}/metrics.json"]  # fmt: skip
    audit = ["-m", "facekp.data.audit", "root={copy}", f"out={OUT}", "workers=1", "pictures=2"]
    prepare = ["-m", "facekp.data.prepare", "raw={copy}", f"out={OUT}", "size=64", "workers=1"]
    compare = ["-m", "facekp.compare", "{copy}", f"out={OUT}"]
    # By kind: a file or folder to copy, the file in it to damage, and the command. One may read many photos at once.
    cases: dict[str, tuple[Path, str, list[str]]] = {
        **{kind.upper(): (made / f"a.{kind}", "", parse) for kind in photos},
        "video": (w / CLIP, "", parse),
        "label": (w / "faces", f"labels/{label}", score),
        "label, audited": (w / "faces", f"labels/{label}", audit),
        "index.csv": (w / "faces", "index.csv", score),
        "mapping": (w / "raw", OFFICIAL_MAPPING, prepare),
        "checkpoint": (world.checkpoint, "", photos_of),
        "safetensors": (w / "net", "net.safetensors", [*photos_of[:-1], "ckpt={copy}/net.safetensors"]),
        "its description": (w / "net", "net.json", [*photos_of[:-1], "ckpt={copy}/net.safetensors"]),
        "ONNX": (w / "net.onnx", "", photos_of),
        "ids": (made / "ids.yaml", "", [*photos_of[:-1], f"ckpt={world.checkpoint}", "ids={copy}"]),
        "config.yaml": (w / "run", ".hydra/config.yaml", compare),
        "metrics.csv": (w / "run", "metrics.csv", compare),
        "metrics.json": (w / "run", "metrics.json", compare),
    }
    chosen = world.chosen(cases)
    if "ONNX" in chosen and not cases["ONNX"][0].is_file():
        succeed(world.commands["export"], w)
    contents = {name: (cases[name][0] / cases[name][1]).read_bytes() for name in chosen}
    shares = Counter(chosen[i % len(chosen)] for i in range(count))
    for k, name in enumerate(chosen):
        source, inner, command = cases[name]
        share = -(-shares[name] // 4) if command is compare else shares[name]  # each comparison draws for seconds
        row, size = Row("inputs", name), 20 if command is parse else 1  # at once; one by one if that fails

        def attempt(
            at: int,
            contents: list[bytes],
            source: Path = source,
            inner: str = inner,
            command: list[str] = command,
            base: Path = made / str(k),
        ) -> tuple[Ended, list[str]]:
            case, out = base / str(at), base / f"{at}-out"
            case.mkdir(parents=True)
            for i, content in enumerate(contents):
                copy = case / (source.name if len(contents) == 1 else f"{i}{source.suffix}")
                if source.is_dir():
                    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("checkpoints"))
                (copy / inner).write_bytes(content)
            given = [argument.replace("{copy}", str(copy)).replace("{case}", str(case)) for argument in command]
            ended = run(called(given, out), HANG * (1 + len(contents) // 4))
            problems = [problem for problem in judge(ended, out) if problem]
            if not problems:  # else the damaged file stays
                shutil.rmtree(case)
                shutil.rmtree(out, ignore_errors=True)
            return ended, problems

        first, _ = attempt(-1, [content := contents[name]])  # as it is
        if first.code:
            raise RuntimeError(f"{command}: {first.said}")
        damaged = [broken(content, list(contents.values()), rng) for _ in range(share)]
        for at in range(0, share, size):
            many = damaged[at : at + size]
            ended, problems = attempt(at, many)
            one_by_one = [attempt(share + at + i, [one]) for i, one in enumerate(many)] if problems else []
            if problems and not any(found for _, found in one_by_one):
                one_by_one[-1] = ended, problems  # they fail only together
            for i in range(len(many)):
                row.add(f"input {at + i}", *(one_by_one[i][1] if one_by_one else ()))
            parsed = re.search(r"^(\d+) of \d+ parsed", ended.said, re.MULTILINE)
            row.results += int(parsed[1]) if parsed else ended.code == 0
            yield row

"""Full and read-only disks, little memory, many threads, and hostile files and names."""

import csv
import pickle
import resource
import shutil
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.campaign.damage import NO_ROOM
from benchmarks.campaign.world import FORMATS, OUT, Row, World, called, judge, results, run
from facekp import FaceParser
from facekp.formats.base import all_formats
from facekp.hardware import MIB, read_status


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """Mount a small disk in memory; give whether that is allowed."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    allowed = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def disks(world: World, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Run every command on a disk that is too small, of several sizes, and on one that cannot be written."""
    for name in world.chosen(world.alone):
        command = world.alone[name]
        row, base = Row("disk", name), world.folder / "disks" / name.replace(" ", "-")
        whole = base / "whole"
        row.add("undisturbed", *judge(run(called(command, whole), 120), whole))
        need = sum(path.stat().st_size for path in results(whole).values())
        for share in np.linspace(0, 0.95, count):
            disk = base / f"{share:.2f}"
            with mounted(disk, f"size={max(4096, int(share * need))}") as allowed:
                if not allowed:
                    row.note = "no disk: mounting one needs root"
                    break
                ended = run(called(command, disk / "out"), 120)
                noticed = ended.code or NO_ROOM in ended.said  # a log that cannot be written ends no run
                row.add(f"{share:.0%} of the room", *judge(ended, disk / "out"), "" if noticed else "is not noticed")
            yield row
        with mounted(base / "read-only", "ro") as allowed:
            if allowed:
                ended = run(called(command, base / "read-only" / "out"), 120)
                row.add("read-only", ended.problem, "" if ended.code else "is not noticed")
        yield row


def memory(world: World, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Parse a large photo with little memory, and a decompression bomb."""
    folder = world.folder / "memory"
    folder.mkdir()
    row, large = Row("memory", "100 megapixels"), folder / "large.jpg"
    Image.new("RGB", (10_000, 10_000)).save(large)
    command = [*world.predict, f"source={large}", f"export={FORMATS}"]
    for more in np.linspace(100, 1500, count).round().astype(int):
        limit = int((read_status("VmSize") + more) * MIB)

        def limited(limit: int = limit, out: Path = folder / str(more)) -> object:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            return called(command, out)()

        row.add(f"{more} MiB", *judge(run(limited, 120), folder / str(more)))
    yield row
    row, bomb = Row("memory", "decompression bomb"), folder / "bomb.png"
    side = 60_000  # 3.6 gigapixels in 440 kB
    chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), b"IDAT": _zeros(side * (side // 8 + 1)),
              b"IEND": b""}  # fmt: skip
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks.items())
    )
    ended = run(called([*world.predict, f"source={bomb}"], folder / "bomb"))
    row.add("3.6 gigapixels", ended.problem, "" if ended.code == 1 else "is not refused")
    yield row


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(count // MIB + 1)) + packer.flush()


NAMES = (
    "\"><img src=x onerror=alert(1)>", "=cmd|' -C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "two\nlines", "tab\tbed",
    "it's & \"quoted\" <b>", "{{7*7}}", "]]><x", "$(touch hacked)", "\x1b[31mred", "a,b;c", "\u202egpj",
)  # fmt: skip
"""Names that pages, SVG files, spreadsheets, shells and terminals may take for something else."""


class Tags(HTMLParser):
    """Collects what a page may run: tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep event handlers, and pictures from elsewhere."""
        self.found += [f"{tag} {key}" for key, _ in attrs if key.startswith("on")]
        self.found += [f"{tag} {value}" for key, value in attrs if key == "src" and value == "x"]


def escaped(out: Path) -> Iterator[str]:
    """Yield what in the results would be run by a browser, a spreadsheet or a terminal."""
    for name, path in results(out).items():
        if path.suffix in (".html", ".svg"):
            yield from (f"{name[:20]!r}: {tag}" for tag in Tags(path.read_text()).found)
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                for row in csv.reader(file):
                    for cell in row:
                        number = cell.replace(".", "").replace("e-", "").lstrip("+-").isdecimal()
                        if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not number:
                            yield f"{name}: the cell {cell!r} is a formula"


def names(world: World, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Give photos, classes' folders and runs hostile names, and look for them in all results."""
    folder = world.folder / "names"
    photos, faces, runs = folder / "photos", folder / "faces", folder / "runs"
    for made in (photos, runs, faces / "images", faces / "labels"):
        made.mkdir(parents=True)
    image, label = (sorted((world.folder / "faces" / kind).iterdir())[0] for kind in ("images", "labels"))
    for name in NAMES:
        (photos / f"{name}.jpg").write_bytes(image.read_bytes())
        (faces / "images" / f"{name}.jpg").write_bytes(image.read_bytes())
        (faces / "labels" / f"{name}.png").write_bytes(label.read_bytes())
        shutil.copytree(world.folder / "run", runs / name, ignore=shutil.ignore_patterns("checkpoints"))
    (photos / "\x1b[31mbroken.jpg").write_bytes(b"no picture")
    with (faces / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split"), *((name, "train") for name in NAMES)])
    regions = "regions=[hair,face]"
    every = f"export=[{','.join(all_formats())}]"
    for case, command in {
        "predict": [*world.predict, f"source={photos}", every, regions],
        "audit": ["-m", "facekp.data.audit", f"root={faces}", f"out={OUT}", "workers=1"],
        "compare": ["-m", "facekp.compare", *(str(runs / name) for name in NAMES), f"out={OUT}"],
    }.items():
        row, out = Row("names", case), folder / case
        ended = run(called(command, out), 120)
        reached = "an escape reaches the terminal" if "\x1b[31m" in ended.said else ""
        row.add(case, *judge(ended, out), *escaped(out), reached)
        row.tried = len(NAMES)
        yield row


@dataclass
class Evil:
    """A pickle that writes the file `mark` when it is loaded."""

    mark: Path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.mark), "w")


def code(world: World, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Give every command that reads a checkpoint one that would run code."""
    folder, row = world.folder / "code", Row("code", "checkpoint that runs code")
    folder.mkdir()
    mark, evil = folder / "ran", folder / "evil.ckpt"
    own = torch.load(world.checkpoint, weights_only=True)
    faces = f"data.root={world.folder / 'faces'}"
    for kind, content in {"pickle": Evil(mark), "inside a checkpoint": own | {"more": Evil(mark)}}.items():
        if kind == "pickle":
            evil.write_bytes(pickle.dumps(content))
        else:
            torch.save(content, evil)
        for name, command in {
            "predict": ["predict.py", f"ckpt={evil}", f"source={world.folder / 'photos'}", f"out={OUT}"],
            "export": ["-m", "facekp.export", f"ckpt={evil}", f"out={OUT}.onnx"],
            "release": ["-m", "facekp.export.release", f"ckpt={evil}", f"out={OUT}.safetensors", faces],
            "evaluate": ["-m", "facekp.evaluate", f"ckpt={evil}", f"out={OUT}.json", faces],
            "train init": world.train("data.workers=0", f"init={evil}"),
            "train resume": world.train("data.workers=0", f"resume={evil}"),
        }.items():
            ended = run(called(command, folder / f"{kind} {name}"), 120)
            ran = "the code ran" if mark.exists() else ""
            mark.unlink(missing_ok=True)
            row.add(f"{name}, {kind}", ended.problem, ran, "" if ended.code else "is accepted")
    yield row


def threads(world: World, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Use one parser in 40 threads for `count` minutes: results are equal, and memory stays flat."""

    def work() -> None:
        parser = FaceParser.from_checkpoint(world.checkpoint, device="cpu")
        photos = [np.asarray(Image.open(path)) for path in sorted((world.folder / "photos").iterdir())]
        wanted = [[face.to_dict() for face in parser(photo, align="none")] for photo in photos]
        end, wrong, done, held = time.monotonic() + 60 * count, list[str](), list[int](), list[float]()

        def use(first: int) -> None:
            i = first
            while time.monotonic() < end and not wrong:
                i += 1
                try:
                    if [f.to_dict() for f in parser(photos[i % len(photos)], align="none")] != wanted[i % len(photos)]:
                        wrong.append("another result")
                except Exception as error:
                    wrong.append(f"{type(error).__name__}: {error}")
                done.append(1)

        pool = [threading.Thread(target=use, args=(k,)) for k in range(40)]
        for thread in pool:
            thread.start()
        while any(thread.is_alive() for thread in pool):
            held.append(read_status("VmRSS"))
            time.sleep(1)
        early, late = max(held[: max(1, len(held) // 3)]), max(held[2 * len(held) // 3 :])
        print(f"{len(done)} photos; memory {early:.0f} MiB in the first third, {late:.0f} in the last")
        if wrong or late > early + 64:
            raise SystemExit(3)

    ended = run(work, 60 * count + 120)
    row = Row("threads", f"40 for {count} minutes", note=ended.said.strip().splitlines()[-1] if ended.said else "")
    row.add("one parser", ended.problem)
    yield row

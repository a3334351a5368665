"""What a run of the benchmarks leaves: `results.json`, and the table on the screen."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.harness import Bench, Row
from facekp.errors import DataError, require
from facekp.files import make_folder, replacing
from facekp.hardware import describe_machine, list_versions

PEERS = ("onnxruntime", "openvino", "pillow", "segmentation-models-pytorch")
"""Packages of backends and peers, whose versions are kept beside ours where they are installed."""
CIRCUMSTANCES = ("machine", "versions", "device", "threads", "quick")
"""Rows that were measured under different ones do not stand in one file."""


def describe(bench: Bench, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of `results.json` for `rows`, as plain data."""
    plain: dict[str, Any] = json.loads(json.dumps([asdict(row) for row in rows], allow_nan=False))
    return {
        "machine": describe_machine(),
        "versions": list_versions() | {name: found for name in PEERS if (found := _version(name))},
        "date": datetime.now(UTC).date().isoformat(),
        "device": bench.device.type,
        "threads": bench.threads,
        "quick": bench.quick,
        "rates": asdict(bench.rates),
        "rows": plain,
    }


def merge(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Return `new` with the rows of `old` that it has not, if both were measured under the same circumstances.

    Example:
        >>> old = {"machine": "a", "rows": [{"name": "x", "ours": 1}, {"name": "y", "ours": 2}]}
        >>> merge(old, {"machine": "a", "rows": [{"name": "x", "ours": 3}]})["rows"]
        [{'name': 'x', 'ours': 3}, {'name': 'y', 'ours': 2}]
        >>> merge(old, {"machine": "b", "rows": []})["rows"]
        []
    """
    if old is None or any(old.get(key) != new.get(key) for key in CIRCUMSTANCES):
        return new
    rows = {row["name"]: row for row in old["rows"]} | {row["name"]: row for row in new["rows"]}
    return new | {"rows": list(rows.values())}


def write(path: Path, new: dict[str, Any]) -> dict[str, Any]:
    """Merge `new` into the file, and return what it holds now.

    Raises:
        DataError: a file that is not ours, or cannot be written.
    """
    old = _read(path) if path.exists() else None
    merged = merge(old, new)
    make_folder(path.parent)
    with replacing(path) as part:
        part.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    return merged


def reserve(setting: str, path: Path) -> None:
    """Make the folder of a file that is only written when all is measured, so that an error comes before.

    Raises:
        ConfigError: `path` is a folder; `setting` is what it was given as.
        DataError: its folder cannot be written.
    """
    require(setting, str(path), not path.is_dir(), "that is a folder; name a file in it")
    make_folder(path.parent)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table: times, ratio with its spread, memory, and the share of the nearest limit."""
    headers = ["row", "unit", "ours", "peer", "ratio", "spread", "memory, MiB", "limit", "of it", "peer is", "note"]
    widths = [None] * (len(headers) - 2) + [24, 40]
    lines = [_cells(row) for row in rows]
    return str(tabulate(lines, headers, tablefmt="simple", maxcolwidths=widths, disable_numparse=True))


def _cells(row: dict[str, Any]) -> list[str]:
    memory, limit, spread = row["memory"] or {}, row["limit"] or {}, row["spread"]
    # The limit that leaves least room.
    kind = max(limit, key=lambda name: limit[name], default="")
    return [
        row["name"],
        row["unit"],
        _number(row["ours"]),
        _number(row["peer"]),
        _number(row["ratio"]),
        f"{_number(spread[0])} to {_number(spread[1])}" if spread else "-",
        " / ".join(f"{memory[who]:.0f}" for who in ("ours", "peer") if who in memory) or "-",
        f"{_number(limit[kind])} ({kind})" if kind else "-",
        f"{limit[kind] / row['ours']:.0%}" if kind else "-",
        row["peer_name"] or "-",
        row["note"],
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = [row["name"] for row in found["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}': holds no benchmark results ({error!r}); give another file (out=)") from error
    if len(set(names)) < len(names):
        raise DataError(f"'{path}': holds a row twice; remove it, or give another file (out=)")
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

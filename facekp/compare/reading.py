"""What a run did, whether it has finished or not, from what it left on the disk."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facekp.config import MONITORS, CallbacksConfig, complete, fold
from facekp.errors import DataError
from facekp.training.history import FILE, read_rows
from facekp.training.summary import SUMMARY, measured_cost, score_rows
from facekp.training.sweep import COMPOSED, ERROR, PRUNED, job_folders, job_number, planned_jobs

Status = Literal["finished", "pruned", "unfinished", "failed", "missing"]
TOP: dict[str, Callable[[Sequence[float]], float]] = {"train_loss": min, "loss": min, "miou": max, "mean_f1": max}
"""Scores of a curve, and which of its values is the best."""


@dataclass(frozen=True)
class RunResult:
    """A run, whatever it was read from. What is not known is None, empty, or not in the dict.

    Attributes:
        name: the folder's name, or the file's.
        path: the run folder, or the file.
        status: finished: it wrote its summary; pruned: a search stopped it; failed: an error ended it; unfinished: it
            was stopped otherwise, or still runs; missing: its sweep did not come to it, or there is no such run.
        settings: folded, as `{"optim.lr": 0.01}`, complete or none.
        steps: optimiser steps done.
        figures: folded: `best.miou`, `best.f1.nose`, ... of the best checkpoint, which `callbacks.monitor` chose;
            `last.*` of the last validation; `test.*` of the best checkpoint on the test split; `top.*`, the best value
            of every curve; `cost.*` (peak memory in MiB); `seconds`, wall time of all steps; `best.train_loss` and
            `last.train_loss`, means of 100 steps. `target.*` and `equal.*`: see the methods.
        curve: one point a validation; `seconds` and `train_loss` too, but for files of the first version.
        machine: processor, cores, GPUs.
        precision: such as "bf16-mixed".
        versions: of the packages.
        error: what ended its last start, in a line.
    """

    name: str
    path: Path
    status: Status
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    figures: dict[str, float | None] = field(default_factory=dict)
    curve: Sequence[dict[str, Any]] = ()
    machine: str | None = None
    precision: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def status_text(self) -> str:
        """The status, and where a run stopped that has not finished."""
        if self.status in ("finished", "missing"):
            return self.status
        return f"{self.status} at step {self.steps} of {self.settings.get('trainer.max_steps', '?')}"

    @property
    def timed(self) -> bool:
        """Whether the times of its validations are known."""
        return bool(self.curve) and all(point.get("seconds") is not None for point in self.curve)

    def aiming_at(self, miou: float | None) -> "RunResult":
        """Return the run with `target.step` and `target.seconds`, where it first reached this mIoU, if it did."""
        point = next((p for p in self.curve if miou is not None and p["miou"] >= miou), {})
        return replace(self, figures=self.figures | {f"target.{k}": point.get(k) for k in ("step", "seconds")})

    def stopped_after(self, seconds: float | None) -> "RunResult":
        """Return the run with `equal.*`, its scores with the highest mIoU up to this wall time, if there are any.

        Between the validations before and after that time they are taken on a straight line, so that it does not
        matter how shortly before it a run happened to be validated.
        """
        points = [p for p in self.curve if self.timed and seconds is not None and p["seconds"] <= seconds]
        later = self.curve[len(points) :]
        if points and later and seconds is not None:
            points.append(_between(points[-1], later[0], seconds))
        best = max(points, key=lambda point: point["miou"], default={})
        return replace(self, figures=self.figures | {f"equal.{name}": value for name, value in best.items()})


def _between(before: dict[str, Any], after: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the point of a curve at a time from that of `before` on and less than that of `after`."""
    share = (seconds - before["seconds"]) / (after["seconds"] - before["seconds"])
    known = [name for name in before if None not in (before[name], after.get(name))]
    return {name: before[name] + share * (after[name] - before[name]) for name in known}


def read_runs(paths: Sequence[Path]) -> list[RunResult]:
    """Read runs in the order given, none twice.

    Args:
        paths: run folders, folders with run folders in them, as a sweep's, or `metrics.json` files under any name.

    Raises:
        DataError: a file that is no summary of a run, or no run in all of them.
    """
    runs = {run.path.resolve(): run for path in paths for run in _read(path)}
    if all(run.status == "missing" for run in runs.values()):
        places = ", ".join(f"'{path}'" for path in paths)
        raise DataError(f"no run in {places}: give run folders, a sweep's folder, or metrics.json files")
    return list(runs.values())


def _read(path: Path) -> Iterator[RunResult]:
    if path.is_file():
        name = path.absolute().parent.name if path.name == SUMMARY else path.stem
        yield _read_summary(path, name)
        return
    is_run = (path / SUMMARY).is_file() or (path / COMPOSED).is_dir()
    jobs = [] if is_run else job_folders(path)
    if not jobs:
        yield _read_folder(path)
        return
    yield from map(_read_folder, jobs)
    started = {job_number(job) for job in jobs}
    for number, overrides in enumerate(planned_jobs(path)):
        if number not in started:
            yield RunResult(f"{number} ({overrides})", path / str(number), "missing")


def _read_folder(folder: Path) -> RunResult:
    name = folder.absolute().name
    error = (folder / ERROR).read_text(encoding="utf-8").strip() if (folder / ERROR).is_file() else ""
    if (folder / SUMMARY).is_file():
        try:
            return replace(_read_summary(folder / SUMMARY, name), path=folder, error=error)
        except DataError as damage:
            error = str(damage)
    rows, settings = read_rows(folder / FILE), _read_settings(folder)
    if not rows and not settings and not error:
        return RunResult(name, folder, "missing")
    monitor = fold(settings).get("callbacks.monitor")
    callbacks = CallbacksConfig(monitor=monitor) if monitor in MONITORS else CallbacksConfig()
    content = {**score_rows(rows, callbacks), "cost": measured_cost(rows), "settings": settings}
    stopped: Status = "pruned" if (folder / PRUNED).is_file() else "unfinished"
    return replace(_result(content), name=name, path=folder, status="failed" if error else stopped, error=error)


def _read_summary(path: Path, name: str) -> RunResult:
    """Read a finished run's summary.

    Raises:
        DataError: it is none.
    """
    try:
        run = _result(json.loads(path.read_text(encoding="utf-8")))
        if run.curve and run.settings:
            return replace(run, name=name, path=path)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DataError(f"file '{path}': no summary of a run; give the metrics.json that train.py wrote")


def _read_settings(folder: Path) -> dict[str, Any]:
    file = folder / COMPOSED / "config.yaml"
    if not file.is_file():
        return {}
    settings = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(file)))
    # It says where the run was, in a way that only Hydra can resolve.
    settings.pop("output_dir", None)
    try:
        return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(settings), resolve=True))
    except OmegaConfBaseException:
        return settings


def _result(content: dict[str, Any]) -> RunResult:
    """Turn the content of a summary, or as much of it as there is, into a result that has no name yet."""
    val, curve = content["val"], content["val"].get("curve", [])
    best = val.get("best", {})
    before_best = next((p.get("train_loss") for p in curve if p["step"] == best["step"]), None)
    figures = {
        "best": {**best, "train_loss": before_best},
        "last": {**val.get("last", {}), "train_loss": content["train"]["loss"]},
        "top": {name: _top(name, curve) for name in TOP},
        "test": content.get("test", {}),
        "cost": content.get("cost", {}),
        "seconds": content["seconds"],
    }
    return RunResult(
        "",
        Path(),
        "finished",
        settings=complete(content["settings"]) if content["settings"] else {},
        steps=content["steps"],
        figures=fold(figures),
        curve=curve,
        machine=content.get("machine"),
        precision=content.get("precision"),
        versions=content.get("versions", {}),
    )


def _top(name: str, curve: Sequence[dict[str, Any]]) -> float | None:
    values = [point[name] for point in curve if point.get(name) is not None and not math.isnan(point[name])]
    return TOP[name](values) if values else None

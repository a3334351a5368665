"""Runs read from disk, finished or not."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from facekp.config import MONITORS, CallbacksConfig, fold
from facekp.errors import DataError
from facekp.training.folder import COMPOSED, ERROR, PRUNED, SUMMARY, complete, job_folders
from facekp.training.rows import FILE, measured_cost, read_rows, score_rows

Status = Literal["finished", "pruned", "unfinished", "failed", "missing"]
CURVES = {"train_loss": "training loss", "loss": "validation loss", "miou": "mIoU", "mean_f1": "mean F1"}
"""Scores of a curve, and their titles; the lowest loss and the highest other score is best."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run. Unknown values are None, empty, or absent.

    Attributes:
        name: name of the folder, or of the file without its suffix.
        status: "finished" wrote its summary; "pruned" was stopped by a search; "failed" ended with an error;
            "unfinished" was stopped otherwise or is still running; "missing" has no folder.
        settings: flat, as `{"optim.lr": 0.01}`; complete or empty.
        figures: flat. `best.*`: scores of the best checkpoint; `last.*`: of the last validation; `test.*`: of the best
            checkpoint on the test split; `top.*`: the best value of each curve; `cost.*`; `seconds`: wall time.
        curve: one line per validation: step, seconds, train_loss, loss, miou, mean_f1, pixel_accuracy.
        about: `machine`, `precision`, `version of torch`, `version of facekp`.
        error: one line on what ended the last start.
    """

    name: str
    path: Path
    status: Status
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    figures: dict[str, float | None] = field(default_factory=dict)
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)
    about: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def timed(self) -> bool:
        """Whether the wall time of every validation is known."""
        return "seconds" in self.curve and bool(self.curve["seconds"].notna().all())

    @property
    def status_text(self) -> str:
        """The status, and the step at which an unfinished run stopped."""
        if self.status in ("finished", "missing"):
            return self.status
        return f"{self.status} at step {self.steps} of {self.settings.get('trainer.max_steps', '?')}"

    def reaching(self, miou: float | None) -> dict[str, float]:
        """Return `target.step` and `target.seconds` of the first validation with this mIoU; {} if none has it."""
        if miou is None or self.curve.empty or not (self.curve["miou"] >= miou).any():
            return {}
        first = self.curve[self.curve["miou"] >= miou].iloc[0]
        return {f"target.{name}": first[name] for name in ("step", "seconds") if name in first}

    def stopped_after(self, seconds: float | None) -> dict[str, float]:
        """Return `equal.*`: the scores with the highest mIoU up to this wall time; {} if there are none.

        Scores are interpolated linearly between the validations around that time, so they do not depend on how shortly
        before it a run happened to be validated.
        """
        if seconds is None or not self.timed or self.curve["seconds"].iloc[0] > seconds:
            return {}
        scores = self.curve.set_index("seconds", drop=False)
        scores = scores.reindex(scores.index.union([seconds])).interpolate("index", limit_area="inside")
        best = scores.loc[scores.index <= seconds].sort_values("miou", kind="stable", ascending=False).iloc[0]
        return {f"equal.{name}": value for name, value in best.items()}


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run folders, folders of run folders, such as a sweep's, and `metrics.json` files, in order, each run once.

    Raises:
        DataError: a file that is not a run's summary, or no run in any of the paths.
    """
    runs: dict[Path, Run] = {}
    for path in paths:
        if path.is_file():
            found = [_read_summary(path, path.absolute().parent.name if path.name == SUMMARY else path.stem)]
        else:
            single = (path / SUMMARY).is_file() or (path / COMPOSED).is_dir()
            found = [_read_folder(folder) for folder in (not single and job_folders(path)) or [path]]
        runs |= {run.path.resolve(): run for run in found}
    if all(run.status == "missing" for run in runs.values()):
        places = ", ".join(f"'{path}'" for path in paths)
        raise DataError(f"no run in {places}: give run folders, a sweep's folder, or metrics.json files")
    return list(runs.values())


def _read_folder(folder: Path) -> Run:
    name = folder.absolute().name
    error = (folder / ERROR).read_text(encoding="utf-8").strip() if (folder / ERROR).is_file() else ""
    if (folder / SUMMARY).is_file():
        try:
            return replace(_read_summary(folder / SUMMARY, name), path=folder, error=error)
        except DataError as damage:
            error = str(damage)
    rows, settings = read_rows(folder / FILE), _read_settings(folder)
    if not rows and not settings and not error:
        return Run(name, folder, "missing")
    monitor = fold(settings).get("callbacks.monitor")
    callbacks = CallbacksConfig(monitor=monitor) if monitor in MONITORS else CallbacksConfig()
    content = {**score_rows(rows, callbacks), "cost": measured_cost(rows), "settings": settings}
    status: Status = "failed" if error else "pruned" if (folder / PRUNED).is_file() else "unfinished"
    return replace(_from_summary(content), name=name, path=folder, status=status, error=error)


def _read_summary(path: Path, name: str) -> Run:
    try:
        run = _from_summary(json.loads(path.read_text(encoding="utf-8")))
        if len(run.curve) and run.settings:
            return replace(run, name=name, path=path)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DataError(f"file '{path}': not a run's summary; give the metrics.json that train.py wrote")


def _read_settings(folder: Path) -> dict[str, Any]:
    file = folder / COMPOSED / "config.yaml"
    settings = cast(DictConfig, OmegaConf.load(file) if file.is_file() else OmegaConf.create())
    if "output_dir" in settings.keys():  # noqa: SIM118  # `in` alone resolves the value, which only Hydra can
        del settings["output_dir"]
    with suppress(OmegaConfBaseException):
        OmegaConf.resolve(settings)
    return cast(dict[str, Any], OmegaConf.to_container(settings))


def _from_summary(content: dict[str, Any]) -> Run:
    """Turn a complete or partial summary into a run without a name."""
    val = content["val"]
    curve, best = pd.DataFrame(val.get("curve", [])).astype(float), val.get("best", {})
    at_best = curve[curve["step"] == best["step"]] if best else curve[0:0]
    figures = {
        "best": {**best, "train_loss": next(iter(at_best.get("train_loss", ())), None)},
        "last": {**val.get("last", {}), "train_loss": content["train"]["loss"]},
        "top": {name: curve[name].agg("min" if "loss" in name else "max") for name in CURVES if name in curve},
        "test": content.get("test", {}),
        "cost": content.get("cost", {}),
        "seconds": content["seconds"],
    }
    versions = {f"version of {name}": content.get("versions", {}).get(name) for name in ("torch", "facekp")}
    return Run(
        "",
        Path(),
        "finished",
        settings=complete(content["settings"]) if content["settings"] else {},
        steps=content["steps"],
        figures=fold(figures),
        curve=curve,
        about={name: content.get(name) for name in ("machine", "precision")} | versions,
    )

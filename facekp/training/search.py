"""Hyperparameter search with Optuna: `facekp search experiment=half optim.lr=0.01`.

Arguments are those of `facekp train`, and `search.KEY=VALUE`. Each trial is a run in its own folder, DIR/NUMBER-MODEL,
and is stopped early if others do better. Any number of processes and machines may run the same command and share the
study. Running the command again continues the search, including trials that were killed.
"""

import math
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped,unused-ignore]  # no stubs in the wheel
from filelock import FileLock, Timeout
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from facekp.cli import parse_cli
from facekp.config import Config
from facekp.data.exclusions import excluded_digest
from facekp.data.layout import check_source
from facekp.errors import ConfigError, FacekpError, explain, require, run_command
from facekp.files import LOCK, expand, make_folder
from facekp.settings import Settings, at_least, setting
from facekp.training.claim import claim_run
from facekp.training.compose import CONF, OWN, read_config, register_schema, require_names
from facekp.training.folder import ANY_TIME, COMPOSED, ERROR, PRUNED, StoppedError, record_settings, require_same

if TYPE_CHECKING:  # Optuna is optional, and Lightning takes seconds to import
    import pytorch_lightning as pl
    from optuna import Study, Trial

SETTINGS, FOLDER = "settings", "folder"  # attributes of a study and of its trials: the settings, and a trial's folder


@dataclass
class SearchConfig(Settings, group="search"):
    """How trials are drawn, and when the search ends."""

    dir: str = setting("runs/search", "folder of the search; an existing one continues")
    storage: str | None = setting(None, "file or database URL of the study; null: DIR/optuna.journal")
    space: str | None = setting(None, "YAML file of the settings to draw; null: conf/search.yaml")
    n_trials: int = setting(30, "finished trials to run over all processes, pruned ones included", at_least(1))
    seed: int | None = setting(None, "seed of the sampler; null: a new one each time", at_least(0))
    prune_after_trials: int = setting(5, "number of trials before pruning starts", at_least(0))
    prune_after_steps: int = setting(500, "training steps before a trial is pruned", at_least(0))


@dataclass
class Command:
    """The command's own settings, apart from those of a run."""

    search: SearchConfig = field(default_factory=SearchConfig)


def search(settings: SearchConfig, arguments: Sequence[str]) -> "Study":
    """Run trials until `n_trials` have finished, and return their study.

    `arguments` are overrides of a run's settings; those that Hydra would sweep over are drawn.

    Raises:
        FacekpError: settings or a data set that cannot be used; it ends the search.
        Exception: the error of the first trial that failed otherwise, after all others have run.
    """
    own = Path(OWN, "search.yaml")
    path = expand(settings.space) if settings.space else own if own.is_file() else CONF / own.name
    require("search.space", settings.space, path.is_file(), "no such file; give one such as conf/search.yaml")
    try:
        given = [f"{name}={value}" for name, value in (yaml.safe_load(path.read_bytes()) or {}).items()]
    except (yaml.YAMLError, AttributeError) as error:
        raise ConfigError(f"search.space '{path}': no YAML mapping of settings to what is drawn ({error})") from error
    parsed = OverridesParser.create().parse_overrides([*given, *arguments])
    overrides = {override.get_key_element(): override for override in parsed}  # the command line comes last
    drawn = {name: override for name, override in overrides.items() if override.is_sweep_override()}
    fixed = [str(override.input_line) for name, override in overrides.items() if name not in drawn]
    config, folder = _compose(fixed), expand(settings.dir)
    study = _open_study(settings, folder, lowest=config.callbacks.mode == "min")
    record = record_settings(config, excluded_digest(config.data.exclude))
    if SETTINGS in study.user_attrs:
        require_same(record, study.user_attrs[SETTINGS], folder, free=ANY_TIME | set(drawn))
    else:
        study.set_user_attr(SETTINGS, record)
    space = {name: _distribution(override) for name, override in drawn.items()}
    failures: list[Exception] = []
    for _ in range(settings.n_trials):
        _requeue_killed(study, folder)
        if sum(t.state.name != "FAIL" for t in study.trials if t.state.name != "WAITING") >= settings.n_trials:
            break
        try:
            trial = study.ask(space)
        except ValueError as error:
            raise ConfigError(f"search.space: {error}; keep the choices that the search began with") from error
        failures += _run_trial(trial, folder, fixed)
    if failures:
        raise failures[0]
    return study


def _distribution(override: Override) -> Any:
    """Return what Optuna draws from for `name=interval(...)`, `int(interval(...))`, `choice(...)` or `range(...)`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        kind = IntDistribution if isinstance(sweep.start, int) else FloatDistribution
        return kind(sweep.start, sweep.end, log="log" in sweep.tags)  # type: ignore[arg-type]
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _compose(overrides: Sequence[str]) -> Config:
    """Return the settings of a trial, checked before torch is imported."""
    register_schema()
    require_names(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = read_config(compose("config", [*overrides, "output_dir=."]))
    check_source(config.data)
    t = config.trainer
    t.devices = 1 if t.devices == "auto" else t.devices
    alone = t.num_nodes == 1 and (t.devices == 1 or (isinstance(t.devices, list) and len(t.devices) == 1))
    require("trainer.devices", t.devices, alone, "a trial is one process: use 1, and start the command for each GPU")
    return config


def _open_study(settings: SearchConfig, folder: Path, *, lowest: bool) -> "Study":
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage
    except ImportError as error:
        raise ConfigError("a search needs Optuna: pip install 'facekp[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Journal files support concurrent writers on NFS; SQLite does not.
    where = settings.storage or str(make_folder(folder) / "optuna.journal")
    study = optuna.create_study(
        study_name=folder.name,
        storage=where if "://" in where else JournalStorage(JournalFileBackend(where)),
        pruner=optuna.pruners.MedianPruner(settings.prune_after_trials, settings.prune_after_steps),
        direction="minimize" if lowest else "maximize",
        load_if_exists=True,
    )
    # With the same seed, a continued search would draw its first trials again.
    seed = None if settings.seed is None else settings.seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def _requeue_killed(study: "Study", folder: Path) -> None:
    """Enqueue the trials of dead processes, to continue in their folders; live processes lock theirs."""
    for killed in (trial for trial in study.trials if trial.state.name == "RUNNING"):
        run = folder / killed.user_attrs.get(FOLDER, "none")
        if (run / LOCK).is_file():  # it began before now, and on this machine
            with suppress(Timeout), FileLock(run / LOCK, timeout=0):
                if study.trials[killed.number].state.name == "RUNNING":  # no other process was faster
                    study.tell(killed.number, state=type(killed.state).FAIL)
                    study.enqueue_trial(killed.params, user_attrs={FOLDER: run.name})


def _run_trial(trial: "Trial", folder: Path, fixed: Sequence[str]) -> list[Exception]:
    """Train with the drawn settings, report the result to the study, and return the trial's error, if any.

    Raises:
        FacekpError: a user's error, which every trial would hit.
    """
    from optuna.trial import TrialState

    drawn = [f"{name}={value}" for name, value in trial.params.items()]
    try:
        config = _compose([*fixed, *drawn])
    except Exception:
        trial.study.tell(trial, state=TrialState.FAIL)
        raise
    run = make_folder(folder / trial.user_attrs.get(FOLDER, f"{trial.number}-{config.model['name']}"))
    config.output_dir = str(run)
    config.logger.group = config.logger.group or folder.name
    config.logger.run_name = config.logger.run_name or ",".join(drawn)
    with claim_run(run):
        trial.set_user_attr(FOLDER, run.name)
        (run / COMPOSED).mkdir(exist_ok=True)
        (run / ERROR).unlink(missing_ok=True)
        try:
            score = _train(config, trial)
            ended = {"state": TrialState.FAIL} if math.isnan(score) else {"values": score}
        except StoppedError as stopped:
            (run / PRUNED).write_text(f"{stopped}\n", encoding="utf-8")
            print(stopped)
            ended = {"state": TrialState.PRUNED}
        except Exception as error:  # such as out of memory: it must not end the other trials
            trial.study.tell(trial, state=TrialState.FAIL)
            (run / ERROR).write_text(f"{explain(error)}\n", encoding="utf-8")
            print(f"trial {trial.number} failed: {error}", file=sys.stderr)
            if isinstance(error, FacekpError):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold the network, the data, a GPU's memory
            return [error]
        trial.study.tell(trial, **ended)
    return []


def _train(config: Config, trial: "Trial") -> float:
    from pytorch_lightning.callbacks import LambdaCallback

    from facekp.training.run import train

    def report(trainer: "pl.Trainer", module: "pl.LightningModule") -> None:
        score, step = float(trainer.callback_metrics[config.callbacks.monitor]), trainer.global_step
        trial.report(score, step)
        if step < trainer.max_steps and trial.should_prune():
            raise StoppedError(f"stopped by the search, {config.callbacks.monitor} {score:.3f} (step {step})")

    return train(config, LambdaCallback(on_validation_end=report))


def main(argv: list[str]) -> None:
    """Search, and print the best trial."""
    own = [text for text in argv if text.startswith("search.") or text in ("-h", "--help", "help", "--version")]
    settings = parse_cli(Command, own, program="facekp search", about=__doc__ or "").search
    try:
        best = search(settings, [text for text in argv if text not in own]).best_trial
    except KeyboardInterrupt:
        print("the same command continues this search", file=sys.stderr)
        raise
    drawn = " ".join(f"{name}={value}" for name, value in best.params.items())
    print(f"best: trial {best.number}, {best.value:.3f}, {drawn}; all: facekp compare {settings.dir}")


if __name__ == "__main__":
    run_command(main)

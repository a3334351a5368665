"""A trial of an Optuna search: where its study is kept, and stopping the trial when others do better.

`hydra/sweeper=optuna` makes the trials (hydra_plugins/facekp_optuna.py). Each is a job that finds its trial by its own
number in the study, so that it may run in another process or on another machine.
"""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback

from facekp.config import Config, as_plain
from facekp.errors import ConfigError
from facekp.training.resume import ANY_TIME, SETTINGS, require_same, sweep_job
from facekp.training.sweep import PRUNED

SWEEPER = "hydra_plugins.facekp_optuna.OptunaSweeper"


def open_study(settings: Any, sampler: Any = None, pruner: Any = None, direction: Any = None) -> Any:
    """Return the `optuna.Study` of a search, which is made where `direction` is given and it is missing.

    Args:
        settings: has `storage`, a file or the URL of a data base, and `study_name`.
        sampler: of an Optuna sampler, its class and arguments, for who makes trials.
        pruner: likewise of an Optuna pruner, for who stops them.
        direction: "minimize" or "maximize".

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage
    except ImportError as error:
        raise ConfigError("hydra/sweeper=optuna needs Optuna: pip install -e '.[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A file of one line an event bears several writers on the file system of a cluster, where SQLite does not.
    url = settings.storage
    storage: Any = url if "://" in url else JournalStorage(JournalFileBackend(url))
    known = {
        "study_name": settings.study_name,
        "storage": storage,
        "sampler": instantiate(sampler),
        "pruner": instantiate(pruner),
    }
    if direction is None:
        return optuna.load_study(**known)
    return optuna.create_study(**known, direction=direction, load_if_exists=True)


def require_same_search(study: Any, config: Config, searched: set[str], folder: Path) -> None:
    """Keep the settings of a new search in its study; of one that goes on, require that they are the same.

    Raises:
        ConfigError: a setting differs that is not searched.
    """
    then = study.user_attrs.get(SETTINGS)
    if then is None:
        study.set_user_attr(SETTINGS, as_plain(config))
    else:
        require_same(config, then, folder, free=ANY_TIME | searched)


def trial_reports(monitor: str) -> list[Callback]:
    """Return the callback of a job that is a trial of a search; for any other run, none.

    Args:
        monitor: the logged score that the search is for.
    """
    hydra = sweep_job()
    if hydra is None or hydra.sweeper.get("_target_") != SWEEPER:
        return []
    study = open_study(hydra.sweeper, pruner=hydra.sweeper.pruner)
    return [TrialReports(study, hydra.job.num, monitor)]


def pruned_score(trainer: pl.Trainer) -> float | None:
    """Return the last score of a trial that was stopped early, or None."""
    return next((c.pruned_at for c in trainer.callbacks if isinstance(c, TrialReports)), None)  # type: ignore[attr-defined]


class TrialReports(Callback):
    """Tell the study every validation's score, and stop training when the study's pruner says so.

    Args:
        study: the `optuna.Study`, with its pruner.
        number: the trial's number in it.
        monitor: the logged score that is told.
    """

    def __init__(self, study: Any, number: int, monitor: str) -> None:
        self.study, self.number, self.monitor = study, number, monitor
        self.pruned_at: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, on one process, and stop on all."""
        score = float(trainer.callback_metrics[self.monitor])
        stop = trainer.is_global_zero and trainer.global_step < trainer.max_steps and self._report(score, trainer)
        if trainer.strategy.broadcast(stop):
            self.pruned_at, trainer.should_stop = score, True
            if trainer.is_global_zero:
                said = f"stopped by the search, {self.monitor} {score:.3f} (step {trainer.global_step})"
                (Path(trainer.default_root_dir) / PRUNED).write_text(f"{said}\n", encoding="utf-8")
                print(said)

    def _report(self, score: float, trainer: pl.Trainer) -> bool:
        from optuna.trial import Trial, TrialState

        # Optuna knows trials by their id; it has no other way to one that another process made.
        trial = Trial(self.study, self.study.trials[self.number]._trial_id)
        trial.report(score, trainer.global_step)
        if not trial.should_prune():
            return False
        self.study.tell(self.number, state=TrialState.PRUNED)
        return True

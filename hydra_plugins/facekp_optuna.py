"""`hydra/sweeper=optuna`: a search whose trials are jobs of a sweep, stopped early where others do better.

Hydra takes plugins from a package of this name only. hydra-optuna-sweeper 1.3, which it would be otherwise, has no
pruner, numbers a continued search's jobs from 0 again, and needs Optuna 2, whose SQLite storage, through which a job
would report its scores, fails with SQLAlchemy 2.
"""

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:  # every Hydra program in this environment loads this file
    from facekp.config import Config

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Ask Optuna for trials, launch them, and tell it their scores.

    A trial's number is its job's. Trials that a stopped search left running are launched first, in their own folders.

    Args:
        n_trials: finished trials wanted, pruned ones included.
        n_jobs: trials launched together.
        study_name: name of the study in its storage.
        storage: a file, or the URL of a data base.
        sampler: class and arguments of an Optuna sampler.
        pruner: class and arguments of an Optuna pruner; the jobs ask it.
        params: what is searched, in Hydra's grammar of overrides.
    """

    def __init__(
        self,
        n_trials: int,
        n_jobs: int,
        study_name: str,
        storage: str,
        sampler: Any,
        pruner: Any,
        params: dict[str, Any],
    ) -> None:
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.study_name, self.storage = study_name, storage
        self.sampler, self.pruner, self.params = sampler, pruner, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives; it calls this first."""
        self.config: DictConfig = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search until `n_trials` have finished, and write `optimization_results.yaml` into the sweep's folder.

        Raises:
            FacekpError: a setting or data set that cannot be used; it ends the search.
            Exception: that of the first trial that failed otherwise, after all others have run.
        """
        from facekp.training.optuna_trial import open_study, require_same_search

        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        parsed = OverridesParser.create().parse_overrides([*(f"{k}={v}" for k, v in self.params.items()), *arguments])
        overrides = {override.get_key_element(): override for override in parsed}  # the command line comes last
        space = {name: _distribution(o) for name, o in overrides.items() if o.is_sweep_override()}
        fixed = [f"{name}={o.get_value_element_as_str()}" for name, o in overrides.items() if name not in space]
        config = _settings(self.config)
        study = open_study(
            self, self.sampler, self.pruner, "minimize" if config.callbacks.mode == "min" else "maximize"
        )
        require_same_search(study, config, set(space), folder)
        batches = self._batches(study, space)
        failures = [error for trials in batches for error in self._run(study, trials, fixed)]
        OmegaConf.save(_results(study), folder / "optimization_results.yaml")
        if failures:
            raise failures[0]

    def _batches(self, study: Any, space: dict[str, Any]) -> Iterator[list[Any]]:
        """Yield the trials that are launched together; their numbers follow each other."""
        from optuna.trial import TrialState

        from facekp.errors import ConfigError

        trials = study.get_trials(states=(TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED))
        yield from _in_sequence([trial for trial in trials if trial.state == TrialState.RUNNING], self.n_jobs)
        if study.trials:
            study.sampler.reseed_rng()  # its seed would draw the first trials again
        for start in range(len(trials), self.n_trials, self.n_jobs):
            try:
                yield [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - start))]
            except ValueError as error:  # of a search that goes on, other choices
                raise ConfigError(f"hydra.sweeper.params: {error}; take those it began with") from error

    def _run(self, study: Any, trials: list[Any], fixed: list[str]) -> list[Exception]:
        """Launch trials, tell the study how they ended, and return what failed."""
        from optuna.trial import TrialState

        from facekp.errors import FacekpError

        failures = []
        jobs = [[*fixed, *(f"{name}={value}" for name, value in trial.params.items())] for trial in trials]
        try:
            returned = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
        except HydraException:  # their settings cannot be composed: left running, they would come again and again
            for trial in trials:
                study.tell(trial.number, state=TrialState.FAIL)
            raise
        for trial, job in zip(trials, returned, strict=True):
            try:
                score = float(job.return_value)
            except Exception as error:  # whatever it is, such as too little memory, it must not end the other trials
                log.error("trial %d failed: %s", trial.number, error)
                study.tell(trial.number, state=TrialState.FAIL)
                if isinstance(error, FacekpError):  # but all would meet a user's error
                    raise
                failures.append(error)
            else:
                study.tell(trial.number, score, skip_if_finished=True)  # a pruned one has finished
        return failures


def _settings(composed: DictConfig) -> "Config":
    """Return the sweep's own settings, checked before any trial is made."""
    from facekp.config import read_config

    task = copy.deepcopy(composed)
    with open_dict(task):
        del task["hydra"]
    task.output_dir = ""  # only jobs have one
    return read_config(task)


def _in_sequence(trials: list[Any], most: int) -> list[list[Any]]:
    """Return `trials` in groups of at most `most` whose numbers follow each other, as those of jobs do."""
    groups: list[list[Any]] = []
    for trial in trials:
        if groups and len(groups[-1]) < most and trial.number == groups[-1][-1].number + 1:
            groups[-1].append(trial)
        else:
            groups.append([trial])
    return groups


def _distribution(override: Override) -> Any:
    """Return what Optuna draws from for `name=interval(...)`, `int(interval(...))`, `choice(...)` or `range(...)`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        kind = IntDistribution if isinstance(sweep.start, int) else FloatDistribution
        return kind(sweep.start, sweep.end, log="log" in sweep.tags)  # type: ignore[arg-type]
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _results(study: Any) -> dict[str, Any]:
    """Return the best trial and all others, as plain data."""
    trials = [
        {"number": t.number, "state": t.state.name.lower(), "value": t.value, "params": t.params} for t in study.trials
    ]
    finished = [trial for trial in trials if trial["state"] == "complete"]
    best = study.best_trial if finished else None
    return {
        "name": "optuna",
        "best_trial": best and best.number,
        "best_value": best and best.value,
        "best_params": best and best.params,
        "trials": trials,
    }

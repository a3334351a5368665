"""`hydra/sweeper=search`: a search whose trials are jobs of a sweep, stopped early where others do better.

Hydra takes plugins from a package of this name only. hydra-optuna-sweeper, which is older, does not prune, does not go
on with a search that was stopped, and needs Optuna 2.
"""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Ask Optuna for trials, launch them, and tell it their scores.

    A trial's number is its job's. Trials that a stopped search left running are launched first, in their own folders.

    Args:
        n_trials: finished trials wanted, pruned ones included.
        n_jobs: trials launched together.
        study_name: name of the study in its storage.
        storage: a file, or the URL of a data base.
        sampler: an Optuna sampler.
        pruner: an Optuna pruner; the jobs ask it.
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
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search until `n_trials` have finished, and write `optimization_results.yaml` into the sweep's folder.

        Raises:
            Exception: that of the first trial that failed, after all others have run.
        """
        from facekp.search import open_study

        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        mode = OmegaConf.to_object(self.config.callbacks).mode  # type: ignore[union-attr]  # CallbacksConfig
        study = open_study(self, self.sampler, self.pruner, {"min": "minimize", "max": "maximize"}[mode])
        parsed = OverridesParser.create().parse_overrides([*(f"{k}={v}" for k, v in self.params.items()), *arguments])
        overrides = {override.get_key_element(): override for override in parsed}  # the command line comes last
        failures = [error for numbers in self._batches(study, overrides) for error in self._run(study, numbers)]
        OmegaConf.save(_results(study), folder / "optimization_results.yaml")
        if failures:
            raise failures[0]

    def _batches(self, study: Any, overrides: dict[str, Override]) -> Iterator[dict[int, list[str]]]:
        """Yield what is launched together: overrides by trial number, numbers in sequence."""
        from optuna.trial import TrialState

        space = {name: _distribution(o) for name, o in overrides.items() if o.is_sweep_override()}
        fixed = [f"{name}={o.get_value_element_as_str()}" for name, o in overrides.items() if name not in space]
        trials = study.get_trials(states=(TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED))
        stopped = [trial for trial in trials if trial.state == TrialState.RUNNING]
        # Of those that follow each other, at most n_jobs at a time.
        for _, group in itertools.groupby(
            enumerate(stopped), lambda pair: (pair[1].number - pair[0], pair[0] // self.n_jobs)
        ):
            yield {trial.number: _job(trial, fixed) for _, trial in group}
        if study.trials:
            study.sampler.reseed_rng()  # its seed would draw the first trials again
        for start in range(len(trials), self.n_trials, self.n_jobs):
            asked = [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - start))]
            yield {trial.number: _job(trial, fixed) for trial in asked}

    def _run(self, study: Any, jobs: dict[int, list[str]]) -> list[Exception]:
        """Launch trials, tell the study how they ended, and return what failed."""
        from optuna.trial import TrialState

        failures = []
        returned = self.launcher.launch(list(jobs.values()), initial_job_idx=min(jobs))
        for number, job in zip(jobs, returned, strict=True):
            try:
                score = _score(job)
            except Exception as error:  # whatever it is, it must not end the other trials
                log.error("trial %d failed: %s", number, error)
                study.tell(number, state=TrialState.FAIL)
                failures.append(error)
            else:
                study.tell(number, score, skip_if_finished=True)  # a pruned one has finished
        return failures


def _job(trial: Any, fixed: list[str]) -> list[str]:
    return [*fixed, *(f"{name}={value}" for name, value in trial.params.items())]


def _score(job: JobReturn) -> float:
    return float(job.return_value)


def _distribution(override: Override) -> Any:
    """Return what Optuna draws from for `name=interval(...)`, `choice(...)` or `range(...)`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return FloatDistribution(float(sweep.start), float(sweep.end), log="log" in sweep.tags)  # type: ignore[arg-type]
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

"""What a comparison says in words: which row is best, how sure that is, and what cannot be compared."""

import math
from collections import defaultdict
from collections.abc import Sequence

from scipy.stats import t

from facekp.compare.grouping import Row, Spread, show_value
from facekp.compare.reading import RunResult
from facekp.compare.table import show_duration

STEP = 0.05
"""The default target is a multiple of this."""
NAMED = 4  # runs that a caution names
CONDITIONS = {
    "machine": "speed, memory and times",
    "precision": "speed and memory (scores may differ a little too)",
    "version of torch": "speed and memory (scores may differ a little too)",
    "version of facekp": "figures on which its changes bear",
    "data.source": "scores",
    "data.root": "scores, unless it is the same data",
    "trainer.limit_val_batches": "scores",
    "init": "scores as if they had begun alike",
    "trainer.max_steps": "scores as if the budget were the same",
    "data.size": "scores, speed and memory as if it were the same",
    "data.decoded": "speed and memory",
    "data.workers": "speed and memory",
    "data.crop": "training losses, speed and memory as if it were the same",
    "callbacks.monitor": "best checkpoints, which it chooses",
}
"""What should be the same in all runs, and what cannot be compared where it is not."""


def default_target(runs: Sequence[RunResult]) -> float | None:
    """Return the highest mIoU that every finished run has reached, rounded down to 0.05; None where that is 0."""
    highest = [max(point["miou"] for point in run.curve) for run in runs if run.status == "finished"]
    # The small term: 0.15 / 0.05 is 2.9999999999999996.
    steps = math.floor(min(highest, default=0.0) / STEP + 1e-9)
    return round(steps * STEP, 2) if steps else None


def shared_time(runs: Sequence[RunResult]) -> float | None:
    """Return the wall time, in seconds, of the shortest finished run; None where it is not known of two."""
    times = [run.curve[-1]["seconds"] for run in runs if run.status == "finished" and run.timed]
    return min(times) if len(times) > 1 else None


def judge(rows: Sequence[Row], seconds: float | None = None) -> list[str]:
    """Return sentences that name the best row, or the ties, and say what chance may have to do with it.

    Args:
        rows: as `rank` gives them.
        seconds: the wall time that runs were `stopped_after`; the best at that time is named too.
    """
    scores = _ranked(rows, "best.miou")
    if not scores:
        return ["No run has finished, so none is ranked."]
    if len(scores) == 1:
        label, best = scores[0]
        return [f"Only {label} has finished, with mIoU {best.text(_shown)}: there is nothing to rank it against."]
    said = [f"Best mIoU: {_lead(scores)}.", f"{_chance([spread for _, spread in scores])}."]
    early = _ranked(rows, "equal.miou")
    if seconds is not None and len(early) > 1:
        said.append(f"At equal wall time ({show_duration(seconds)}, that of the shortest run): {_lead(early)}.")
    return said


def cautions(runs: Sequence[RunResult]) -> list[str]:
    """Return a sentence for everything in which the runs differ that makes their figures not comparable."""
    found = []
    known = [(run, _conditions(run)) for run in runs]
    for what, spoiled in CONDITIONS.items():
        holders: dict[str, list[str]] = defaultdict(list)
        for run, conditions in known:
            # None is a value of a setting; of a machine or a version it says that it is not known.
            if what in run.settings or conditions.get(what) is not None:
                holders[show_value(conditions[what])].append(run.name)
        if len(holders) > 1:
            parts = "; ".join(f"{value} ({_names(names)})" for value, names in holders.items())
            found.append(f"Different {what}: do not compare {spoiled}. {parts}.")
    untimed = [run.name for run in runs if run.curve and not run.timed]
    if untimed:
        found.append(f"The times of validations are not known of {_names(untimed)}.")
    return found


def _conditions(run: RunResult) -> dict[str, object]:
    versions = {f"version of {name}": run.versions.get(name) for name in ("torch", "facekp")}
    return {**run.settings, **versions, "machine": run.machine, "precision": run.precision}


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _shown(score: float) -> str:
    return f"{score:.3f}"


def _ranked(rows: Sequence[Row], figure: str) -> list[tuple[str, Spread]]:
    """Return the rows with a finished run and their figure, the highest first."""
    scores = [(row.label, spread) for row in rows if row.finished and (spread := row.spread(figure))]
    return sorted(scores, key=lambda score: -score[1].mean)


def _lead(scores: Sequence[tuple[str, Spread]]) -> str:
    """Name the first and how far it is above the second, or those that share the first place as it is shown."""
    (label, best), (other, second) = scores[:2]
    ties = [name for name, spread in scores if _shown(spread.mean) == _shown(best.mean)]
    if len(ties) > 1:
        return f"a tie at {_shown(best.mean)}, {_names(ties)}"
    return f"{label} with {best.text(_shown)}, {_shown(best.mean - second.mean)} above {other} ({second.text(_shown)})"


def _chance(spreads: Sequence[Spread]) -> str:
    """Say what is known of the spread over seeds, and whether the first's lead over the second is larger."""
    freedom = sum(s.n - 1 for s in spreads)
    if not freedom:
        return "One seed each: how much of a difference is chance was not measured"
    pooled = math.sqrt(sum((s.n - 1) * (s.deviation or 0.0) ** 2 for s in spreads) / freedom)
    runs = sum(s.n for s in spreads if s.n > 1)
    best, second = spreads[:2]
    chance = float(t.ppf(0.975, freedom)) * pooled * math.sqrt(1 / best.n + 1 / second.n)
    small = best.mean - second.mean < chance
    return (
        f"Over seeds the standard deviation of mIoU is {pooled:.4f}, pooled over {runs} runs: a lead of less than "
        f"{chance:.3f} may be chance (Student's t, 95 %); this one is {'smaller, so it may be' if small else 'larger'}"
    )

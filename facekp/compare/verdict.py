"""Verdict in words: the best row, its certainty, and figures that cannot be compared."""

import math
from collections.abc import Sequence
from functools import partial

import pandas as pd
from scipy.stats import t

from facekp.compare.rows import show_value
from facekp.compare.runs import Run
from facekp.compare.tables import show_duration, show_figure, show_spread, spreads
from facekp.config import Config
from facekp.settings import Affects, walk

STEP = 0.05  # the default target is a multiple of this
MAX_NAMED = 4  # maximum number of runs named in a caution
CONDITIONS = {
    "machine": "speed, memory and times",
    "precision": "speed and memory (scores may differ a little too)",
    "version of torch": "speed and memory (scores may differ a little too)",
    "version of facekp": "figures that its changes affect",
    **{s.key: s.confounds for s in sorted(walk(Config), key=lambda s: s.affects is Affects.SPEED) if s.confounds},
}
"""Conditions that should be the same in all runs, and the figures that cannot be compared otherwise."""
show = partial(show_figure, figure="miou")


def default_target(runs: Sequence[Run]) -> float | None:
    """Return the highest mIoU that every finished run has reached, rounded down to 0.05; None if that is 0."""
    lowest = min((run.curve["miou"].max() for run in runs if run.status == "finished"), default=0.0)
    # The small term: 0.15 / 0.05 is 2.9999999999999996.
    return round(math.floor(lowest / STEP + 1e-9) * STEP, 2) or None


def shared_time(runs: Sequence[Run]) -> float | None:
    """Return the wall time, in seconds, of the shortest finished run; None unless known for two runs."""
    times = [float(run.curve["seconds"].iloc[-1]) for run in runs if run.status == "finished" and run.timed]
    return min(times) if len(times) > 1 else None


def judge(table: pd.DataFrame, seconds: float | None = None) -> list[str]:
    """Return sentences that name the best row, or the ties, and say whether chance may explain the lead.

    `seconds` is the wall time of the `equal.*` figures, or None.
    """
    finished = table[table["finished"]]
    scores = _ranked(finished, "best.miou")
    if scores.empty:
        return ["No run has finished, so none is ranked."]
    if len(scores) == 1:
        only, best = scores.index[0], show_spread(scores.iloc[0], "miou")
        return [f"Only {only} has finished, with mIoU {best}: there is nothing to rank it against."]
    said = [f"Best mIoU: {_lead(scores)}.", f"{_chance(scores)}."]
    early = _ranked(finished, "equal.miou")
    if seconds is not None and len(early) > 1:
        said.append(f"At equal wall time ({show_duration(seconds)}, that of the shortest run): {_lead(early)}.")
    return said


def cautions(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for every condition that differs between runs and makes figures incomparable."""
    found = []
    for what, spoiled in CONDITIONS.items():
        holders: dict[str, list[str]] = {}
        for run in runs:
            # A setting may be None; a machine or a version is None where it is unknown.
            if what in run.settings or run.about.get(what) is not None:
                holders.setdefault(show_value({**run.settings, **run.about}[what]), []).append(run.name)
        if len(holders) > 1:
            parts = "; ".join(f"{value} ({_names(names)})" for value, names in holders.items())
            found.append(f"Different {what}: do not compare {spoiled}. {parts}.")
    untimed = [run.name for run in runs if len(run.curve) and not run.timed]
    if untimed:
        found.append(f"The times of validations are unknown for {_names(untimed)}.")
    return found


def _names(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _ranked(table: pd.DataFrame, figure: str) -> pd.DataFrame:
    return spreads(table, figure).dropna(subset="mean").sort_values("mean", ascending=False, kind="stable")


def _lead(scores: pd.DataFrame) -> str:
    """Name the first row and its lead over the second, or the rows tied for first place at the shown precision."""
    best, second = scores.iloc[0], scores.iloc[1]
    ties = scores.index[scores["mean"].map(show) == show(best["mean"])]
    if len(ties) > 1:
        return f"a tie at {show(best['mean'])}, {_names(list(ties))}"
    lead = show(best["mean"] - second["mean"])
    return f"{best.name} with {show_spread(best, 'miou')}, {lead} above {second.name} ({show_spread(second, 'miou')})"


def _chance(scores: pd.DataFrame) -> str:
    """State the spread over seeds, if known, and whether the first row's lead over the second exceeds it."""
    freedom = int((scores["count"] - 1).sum())
    if not freedom:
        return "One seed each: seed-to-seed noise was not measured"
    pooled = math.sqrt(((scores["count"] - 1) * scores["std"].fillna(0) ** 2).sum() / freedom)
    runs = int(scores["count"][scores["count"] > 1].sum())
    best, second = scores.iloc[0], scores.iloc[1]
    chance = float(t.ppf(0.975, freedom)) * pooled * math.sqrt(1 / best["count"] + 1 / second["count"])
    small = best["mean"] - second["mean"] < chance
    return (
        f"Over seeds the standard deviation of mIoU is {pooled:.4f}, pooled over {runs} runs: a lead of less than "
        f"{chance:.3f} may be chance (Student's t, 95 %); this one is {'smaller, so it may be' if small else 'larger'}"
    )

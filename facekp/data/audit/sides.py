"""Labels whose left and right are reversed."""

from typing import Literal

import numpy as np

from facekp.classes import ATTRIBUTES, MIRROR_PAIRS
from facekp.data.audit.flaw import Flaw
from facekp.data.audit.geometry import Frame, Patch

MARGIN = 0.1
"""Face widths beyond the middle line at which a part lies on the wrong side beyond doubt.

The far eye of a head in half profile comes that near to the nose's centre, and beyond it.
"""

SMALLEST = 6e-4
"""Pieces below this share of a square face width say nothing: stray pixels, the tip of an ear beneath hair."""

BOTH_SIDES = 0.2, 0.8
"""A class with a share between these of its pixels on the wrong side covers both sides."""

Verdict = Literal["right", "wrong", "both"]


def check_sides(patches: list[Patch], frame: Frame) -> Flaw | None:
    """Tell whether the eyes, brows and ears that a label calls left lie on the subject's left.

    Two of a pair are compared with each other, which holds up to a full profile; a single one is compared with the
    middle line of the face.

    Returns:
        `reversed`, `partly_reversed` (some parts only, or one name for both sides), or None.
    """
    patches = [patch for patch in patches if patch.area >= SMALLEST * frame.unit**2]
    verdicts: dict[int, Verdict] = {}
    for pair in MIRROR_PAIRS:
        verdicts |= _judge_pair(patches, frame, pair)
    names = {v: [ATTRIBUTES[c] for c, found in verdicts.items() if found == v] for v in ("right", "wrong", "both")}
    if not names["wrong"] and not names["both"]:
        return None
    details = []
    if names["wrong"]:
        details.append(f"{', '.join(names['wrong'])} on the other side")
    if names["both"]:
        details.append(f"{', '.join(names['both'])} on both sides")
    score = (len(names["wrong"]) + 0.5 * len(names["both"])) / len(verdicts)
    return Flaw("reversed" if score == 1 else "partly_reversed", "; ".join(details), score)


def _judge_pair(patches: list[Patch], frame: Frame, pair: tuple[int, int]) -> dict[int, Verdict]:
    verdicts: dict[int, Verdict] = {}
    means: list[float] = []
    for class_id, sign in zip(pair, (1, -1), strict=True):
        own = [patch for patch in patches if patch.class_id == class_id]
        if not own:
            continue
        # Positive on the side where it belongs.
        across = np.array([sign * frame.across(patch.centre) for patch in own])
        areas = [patch.area for patch in own]
        means.append(float(np.average(across, weights=areas)))
        verdict = _judge_alone(means[-1], float(np.average(across < -MARGIN, weights=areas)))
        if verdict:
            verdicts[class_id] = verdict
    if len(means) == 2 and "both" not in verdicts.values():
        # They trade places exactly where the left one lies farther to the right one's side than the right one itself.
        if sum(means) < 0:
            return dict.fromkeys(pair, "wrong")
        return {class_id: verdicts.get(class_id, "right") for class_id in pair}
    return verdicts


def _judge_alone(mean: float, share: float) -> Verdict | None:
    """Judge a class by the mean place of its pixels and their share on the wrong side; None: too near the middle."""
    low, high = BOTH_SIDES
    if share >= high:
        return "wrong"
    if share >= low:
        return "both"
    return "right" if mean > MARGIN else None

"""Labels with reversed left and right."""

from typing import Literal

import numpy as np

from facekp.classes import ATTRIBUTES, MIRROR_PAIRS
from facekp.data.audit.findings import Flaw
from facekp.data.audit.geometry import Axes, Patch

MARGIN = 0.1
"""Face widths beyond the middle line from which a part is certainly on the wrong side.

In half profile, the far eye lies up to that far beyond the centre of the nose.
"""

SMALLEST = 6e-4
"""Smaller pieces, as a share of a square face width, are ignored: stray pixels, the tip of an ear beneath hair."""

BOTH_SIDES = 0.2, 0.8
"""A class with a share of its pixels between these on the wrong side covers both sides."""

Verdict = Literal["right", "wrong", "both"]


def check_sides(patches: list[Patch], axes: Axes) -> Flaw | None:
    """Report eyes, brows and ears that are called left but lie on the subject's right, or vice versa.

    The two parts of a pair are compared with each other, which works up to a full profile; a single part is compared
    with the middle line of the face.

    Returns:
        `reversed`, `partly_reversed` (some parts only, or one name for both sides), or None.
    """
    patches = [patch for patch in patches if patch.area >= SMALLEST * axes.unit**2]
    verdicts: dict[int, Verdict] = {}
    for pair in MIRROR_PAIRS:
        verdicts |= _judge_pair(patches, axes, pair)
    wrong = [ATTRIBUTES[c] for c, verdict in verdicts.items() if verdict == "wrong"]
    both = [ATTRIBUTES[c] for c, verdict in verdicts.items() if verdict == "both"]
    if not wrong and not both:
        return None
    details = [f"{', '.join(wrong)} on the other side"] if wrong else []
    details += [f"{', '.join(both)} on both sides"] if both else []
    score = (len(wrong) + 0.5 * len(both)) / len(verdicts)
    return Flaw("reversed" if score == 1 else "partly_reversed", "; ".join(details), score)


def _judge_pair(patches: list[Patch], axes: Axes, pair: tuple[int, int]) -> dict[int, Verdict]:
    verdicts: dict[int, Verdict] = {}
    means: list[float] = []
    for class_id, sign in zip(pair, (1, -1), strict=True):
        own = [patch for patch in patches if patch.class_id == class_id]
        if not own:
            continue
        across = np.array([sign * axes.across(patch.centre) for patch in own])  # positive on the right side
        areas = [patch.area for patch in own]
        means.append(float(np.average(across, weights=areas)))
        verdict = _judge_alone(means[-1], float(np.average(across < -MARGIN, weights=areas)))
        if verdict:
            verdicts[class_id] = verdict
    if len(means) == 2 and "both" not in verdicts.values():
        # The two are swapped exactly if the left one lies farther to the subject's right than the right one.
        if sum(means) < 0:
            return dict.fromkeys(pair, "wrong")
        return {class_id: verdicts.get(class_id, "right") for class_id in pair}
    return verdicts


def _judge_alone(mean: float, share: float) -> Verdict | None:
    """Judge a class by its mean position and its share on the wrong side; None is too close to the middle to tell."""
    low, high = BOTH_SIDES
    if share >= low:
        return "wrong" if share >= high else "both"
    return "right" if mean > MARGIN else None

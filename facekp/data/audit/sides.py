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

    Returns:
        `reversed`, `partly_reversed` (some parts only, or one name for both sides), or None.
    """
    verdicts: dict[int, Verdict] = {}
    for pair in MIRROR_PAIRS:
        verdicts |= _judge_pair(patches, axes, pair)
    wrong, both = ([ATTRIBUTES[c] for c, verdict in verdicts.items() if verdict == kind] for kind in ("wrong", "both"))
    if not wrong and not both:
        return None
    details = [f"{', '.join(wrong)} on the other side"] if wrong else []
    details += [f"{', '.join(both)} on both sides"] if both else []
    score = (len(wrong) + 0.5 * len(both)) / len(verdicts)
    return Flaw("reversed" if score == 1 else "partly_reversed", "; ".join(details), score)


def _judge_pair(patches: list[Patch], axes: Axes, pair: tuple[int, int]) -> dict[int, Verdict]:
    """Compare the two parts with each other, which works up to a full profile, and each with the face's middle line."""
    (low, high), means, verdicts = BOTH_SIDES, list[float](), dict[int, Verdict]()
    for class_id, sign in zip(pair, (1, -1), strict=True):
        own = [p for p in patches if p.class_id == class_id and p.area >= SMALLEST * axes.unit**2]
        if not own:
            continue
        across = np.array([sign * axes.across(patch.centre) for patch in own])  # positive on the right side
        areas = [patch.area for patch in own]
        means.append(float(np.average(across, weights=areas)))
        share = np.average(across < -MARGIN, weights=areas)
        if share >= low:
            verdicts[class_id] = "wrong" if share >= high else "both"
        elif means[-1] > MARGIN:  # or else it is too close to the middle to tell
            verdicts[class_id] = "right"
    if len(means) == 2 and "both" not in verdicts.values():
        # The two are swapped exactly if the left one lies farther to the subject's right than the right one.
        if sum(means) < 0:
            return dict.fromkeys(pair, "wrong")
        return {class_id: verdicts.get(class_id, "right") for class_id in pair}
    return verdicts

"""Labels whose ids seem to be in the order of another data set."""

import sys
from collections.abc import Sequence
from itertools import combinations, groupby
from pathlib import Path
from typing import Final

import cv2

from facekp.classes import Classes
from facekp.data.audit.geometry import BROWS, EYES, LIPS, NOSE, find_centre, part_table
from facekp.data.layout import Sample
from facekp.images import UInt8Array, read_label

FROM_THE_TOP: Final = (BROWS, EYES, (NOSE, NOSE), LIPS, (17, 17), (18, 18))
"""Ranges of CelebAMask-HQ's classes, first and last, from the top of an upright head down to neck and cloth."""
OUT_OF_ORDER: Final = 0.25  # share of pairs of `FROM_THE_TOP` that lie the other way round in labels of other classes
LOOKED_AT: Final = 16
"""Labels of a data set that training looks at: with CelebAMask-HQ's ids all are in order, with others nearly none."""


def has_order(label: UInt8Array, classes: Classes) -> bool:
    """Return whether the parts of a label (H, W) uint8 lie above each other as those of its classes do."""
    parts = cv2.LUT(label, part_table(classes))
    centres = [find_centre(parts, first, last) for first, last in FROM_THE_TOP]
    pairs = list(combinations([float(centre[1]) for centre in centres if centre is not None], 2))
    return sum(upper > lower for upper, lower in pairs) <= OUT_OF_ORDER * len(pairs)


def check_order(samples: Sequence[Sample]) -> None:
    """Look at a few labels of each data set among the samples, and print if they seem to have other classes.

    Raises:
        DataError: a label cannot be read.
    """
    for folder, group in groupby(samples, key=lambda sample: sample.label.parent):
        own = list(group)
        few = own[:: -(-len(own) // LOOKED_AT)]
        report_order(folder.parent, [has_order(read_label(one.label, one.classes), one.classes) for one in few])


def report_order(root: Path, in_order: Sequence[bool]) -> None:
    """Print that the labels of `root` seem to have other classes, if most are not in order."""
    others = len(in_order) - sum(in_order)
    if others > len(in_order) / 2:
        print(
            f"labels of '{root}': in {others} of {len(in_order)}, parts lie where these classes do not (a nose above "
            "the eyes, a neck above the mouth): their ids seem to be in another order, such as that of "
            "face-parsing.PyTorch; change them to those of docs/guides/data.md",
            file=sys.stderr,
        )

"""Which faces are in which group: by what their labels and photos show, not by who the people are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.card.labelled import (
    Labelled,
    face_luma,
    hair_over_face,
    hidden_brow,
    hidden_eye,
    no_hair,
    one_ear,
    photo_luma,
    turn,
    uneven_light,
)
from facekp.data.decoded import read_sample
from facekp.data.layout import Sample

Values = npt.NDArray[np.float64]
Members = npt.NDArray[np.bool_]

HAIR_SHARE = 0.01
"""Of the inside of the face: from here on a fringe is seen to reach over it."""


@dataclass(frozen=True)
class Group:
    """Faces that have something in common; its complement are all others on which that can be measured.

    Attributes:
        name: what it is called in tables.
        about: what makes a face one of the group.
        measure: the number of a face that decides it; nan where it cannot be measured.
        choose: from the numbers of all faces (n,), none of them nan, to the group's (n,) bool.
    """

    name: str
    about: str
    measure: Callable[[Labelled], float]
    choose: Callable[[Values], Members]

    def place(self, values: Values) -> "Placed":
        """Tell by the numbers of all faces (n,) which of them are in the group."""
        known = np.isfinite(values)
        inside = np.zeros(len(values), np.bool_)
        inside[known] = self.choose(values[known])
        return Placed(self, values, inside, known & ~inside)


@dataclass(frozen=True)
class Placed:
    """Which faces are in a group.

    Attributes:
        group: the group.
        values: (n,) the number of every face.
        inside: (n,) which are in the group.
        others: (n,) which are in its complement; a face whose number is nan is in neither.
    """

    group: Group
    values: Values
    inside: Members
    others: Members


def some(values: Values) -> Members:
    """Choose what is above 0."""
    return values > 0


def at_least(least: float) -> Callable[[Values], Members]:
    """Return a rule that chooses what is as large as `least`, or larger."""
    return lambda values: values >= least


def lowest_tenth(values: Values) -> Members:
    """Choose the lowest tenth, rounded, but at least one; of equal values the first.

    Example:
        >>> np.flatnonzero(lowest_tenth(np.array([5, 2, 9, 2, 7, 8, 6, 3, 4, 1, 1, 8, 8, 8, 8.0]))).tolist()
        [9, 10]
    """
    chosen = np.zeros(len(values), np.bool_)
    chosen[np.argsort(values, kind="stable")[: max(1, round(len(values) / 10))]] = True
    return chosen


def highest_tenth(values: Values) -> Members:
    """Choose the highest tenth by the same rule."""
    return lowest_tenth(-values)


def contains(name: str) -> Callable[[Labelled], float]:
    """Return a measure that is 1 where a class is in the label, else 0."""
    return lambda face: float(face.has(name))


GROUPS = (
    Group("glasses", "eye_g in the label", contains("eye_g"), some),
    Group("hat", "hat in the label", contains("hat"), some),
    Group("earring", "ear_r in the label", contains("ear_r"), some),
    Group("necklace", "neck_l in the label", contains("neck_l"), some),
    Group(
        "hair_over_face",
        f"hair on at least {HAIR_SHARE:.0%} of the convex hull of brows, eyes, nose, mouth and lips",
        hair_over_face,
        at_least(HAIR_SHARE),
    ),
    Group("hidden_brow", "a brow is not in the label: under hair or a hat, or turned away", hidden_brow, some),
    Group("hidden_eye", "an eye is not in the label, faces with glasses left out: closed, or hidden", hidden_eye, some),
    Group("one_ear", "just one ear in the label: a turned head, or hair over the other", one_ear, some),
    Group("no_hair", "no hair in the label: bald, or all of it under a hat", no_hair, some),
    Group("open_mouth", "mouth in the label: teeth or the inside of the mouth are seen", contains("mouth"), some),
    Group(
        "turned_head",
        "the tenth whose nose stands farthest from the middle between the eyes, to either side",
        lambda face: abs(turn(face)),
        highest_tenth,
    ),
    Group("turned_left", "the nose stands on the subject's left of the middle between the eyes", turn, some),
    Group("dark_face", "the tenth with the darkest skin and nose: mean luma", face_luma, lowest_tenth),
    Group("bright_face", "the tenth with the brightest skin and nose: mean luma", face_luma, highest_tenth),
    Group("dark_photo", "the tenth of the darkest photos, all pixels: mean luma", photo_luma, lowest_tenth),
    Group("uneven_light", "the tenth whose halves of the face differ most in luma", uneven_light, highest_tenth),
)
"""A dark face is one of dark skin, in little light, or both: from a photo they cannot be told apart. `dark_photo` and
`uneven_light` are about light and background more than about skin."""


def place_all(samples: Sequence[Sample], groups: Sequence[Group] = GROUPS) -> list[Placed]:
    """Measure all faces, at their labels' own size, and tell which are in which group.

    Raises:
        DataError: a file that cannot be read, or an image and a label of different shapes.
    """
    faces = (Labelled(*read_sample(sample)) for sample in tqdm(samples, unit="face", desc="measuring"))
    rows = np.array([[group.measure(face) for group in groups] for face in faces])
    return [group.place(rows[:, i]) for i, group in enumerate(groups)]

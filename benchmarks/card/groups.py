"""Which faces are in which group: by what their labels and photos show, not by who the people are."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.card.labelled import (
    Labelled,
    Measure,
    face_luma,
    hair_over_face,
    has,
    hidden_eye,
    lacks,
    turn,
    uneven_light,
)
from benchmarks.card.scores import Floats, Members
from facekp.data.dataset import read_sample
from facekp.data.layout import Sample

HAIR_SHARE = 0.01
"""Of the inside of the face: from here on a fringe is seen to reach over it."""


def some(values: Floats) -> Members:
    """Choose what is above 0."""
    return values > 0


def lowest_tenth(values: Floats) -> Members:
    """Choose the lowest tenth, rounded, but at least one; of equal values the first.

    Example:
        >>> np.flatnonzero(lowest_tenth(np.array([5, 2, 9, 2, 7, 8, 6, 3, 4, 1, 1, 8, 8, 8, 8.0]))).tolist()
        [9, 10]
    """
    chosen = np.zeros(len(values), np.bool_)
    chosen[np.argsort(values, kind="stable")[: max(1, round(len(values) / 10))]] = True
    return chosen


def highest_tenth(values: Floats) -> Members:
    """Choose the highest tenth by the same rule."""
    return lowest_tenth(-values)


class Placed(NamedTuple):
    """Which images are in a group (n,), and which in its complement (n,); what cannot be measured is in neither."""

    inside: Members
    others: Members


class Group(NamedTuple):
    """Faces that have something in common; its complement are all others on which that can be measured.

    Attributes:
        about: what makes a face one of the group.
        measure: the number of a face that decides it; nan where it cannot be measured.
        choose: from the numbers of all faces (n,), none of them nan, to the group's (n,) bool.
    """

    about: str
    measure: Measure
    choose: Callable[[Floats], Members] = some

    def place(self, values: Floats) -> Placed:
        """Tell by the numbers of all faces (n,) which of them are in the group."""
        known = np.isfinite(values)
        inside = np.zeros(len(values), np.bool_)
        inside[known] = self.choose(values[known])
        return Placed(inside, known & ~inside)


HAIR = f"hair on at least {HAIR_SHARE:.0%} of the convex hull of brows, eyes, nose, mouth and lips"
MIDDLE = "the middle between the eyes"
GROUPS = {
    "glasses": Group("`eye_g` in the label", has("eye_g")),
    "hat": Group("`hat` in the label", has("hat")),
    "earring": Group("`ear_r` in the label", has("ear_r")),
    "necklace": Group("`neck_l` in the label, if only a few pixels", has("neck_l")),
    "hair_over_face": Group(HAIR, hair_over_face, lambda shares: shares >= HAIR_SHARE),
    "hidden_brow": Group("a brow is not in the label", lacks("l_brow", "r_brow")),
    "hidden_eye": Group("an eye is not in the label; faces with glasses are on neither side", hidden_eye),
    "one_ear": Group("one ear in the label, not the other", lambda face: has("l_ear")(face) != has("r_ear")(face)),
    "no_hair": Group("no hair in the label", lacks("hair")),
    "open_mouth": Group("`mouth`, its inside, in the label", has("mouth")),
    "turned_left": Group(f"the nose is on the person's own left of {MIDDLE}", turn),
    "turned_head": Group(
        f"the tenth whose nose is farthest from {MIDDLE}", lambda face: abs(turn(face)), highest_tenth
    ),
    "dark_face": Group("the tenth with the darkest skin and nose: mean luma", face_luma, lowest_tenth),
    "bright_face": Group("the tenth with the brightest skin and nose", face_luma, highest_tenth),
    "dark_photo": Group("the tenth of the darkest photos, all pixels", lambda face: face.luma.mean(), lowest_tenth),
    "uneven_light": Group("the tenth whose halves of the face differ most in luma", uneven_light, highest_tenth),
}
"""A dark face is one of dark skin, in little light, or both: from a photo they cannot be told apart. `dark_photo` and
`uneven_light` are about light and background more than about skin."""


def place_all(samples: Sequence[Sample], groups: dict[str, Group] = GROUPS) -> dict[str, Placed]:
    """Measure all faces, at their labels' own size, and tell which are in which group.

    Raises:
        DataError: a file that cannot be read, or an image and a label of different shapes.
    """
    faces = (Labelled(*read_sample(sample)) for sample in tqdm(samples, unit="face", desc="measuring"))
    rows = np.array([[group.measure(face) for group in groups.values()] for face in faces])
    return {name: group.place(values) for (name, group), values in zip(groups.items(), rows.T, strict=True)}


def count_shared(placed: dict[str, Placed]) -> dict[str, dict[str, int]]:
    """Return of each group how many of its images are in each of the others too, where any is."""
    return {
        one: {two: n for two in placed if two != one and (n := int((placed[one].inside & placed[two].inside).sum()))}
        for one in placed
    }

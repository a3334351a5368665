"""What can be wrong with a face of the official folder, and what its preparation does about it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

SHOWN = 3
"""How many files of a kind are named on the screen; summary.json names all."""


class Kind(StrEnum):
    """A kind of problem, as the summary names it."""

    NOT_THERE = "listed image that is not there"
    NO_MASK = "image without any mask"
    BAD_IMAGE = "image that cannot be used"
    BAD_MASK = "mask that cannot be read"
    MISSING = "face without a skin or nose mask"
    EMPTY = "mask without a pixel"
    SIZE = "mask of another size than the face's other masks"
    SHAPE = "image or mask that is not square"
    UNKNOWN = "mask of an unknown attribute"
    SECOND = "second mask of one attribute"
    NO_IMAGE = "mask without an image"


CONSEQUENCES = {
    Kind.NOT_THERE: "not prepared",
    Kind.NO_MASK: "left out",
    Kind.BAD_IMAGE: "left out",
    Kind.BAD_MASK: "its image is left out",
    Kind.MISSING: "prepared without that class",
    Kind.EMPTY: "changes nothing",
    Kind.SIZE: "resized like the others",
    Kind.SHAPE: "stretched to a square",
    Kind.UNKNOWN: "passed over",
    Kind.SECOND: "passed over; the first path in order counts",
    Kind.NO_IMAGE: "passed over",
}
"""What happens with a file that has the problem."""

LEAVES_OUT = frozenset({Kind.NO_MASK, Kind.BAD_IMAGE, Kind.BAD_MASK})
"""The kinds that keep an image from being prepared."""


@dataclass(frozen=True, order=True)
class Problem:
    """One file's problem.

    Attributes:
        kind: what is wrong.
        file: the file in the official folder, or the name that the mapping lists.
        detail: what was found, where the kind does not say it.
    """

    kind: Kind
    file: str
    detail: str = ""


def describe(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield a line a kind: how many, what happens with them, and the first few by name."""
    by_kind: dict[Kind, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    for kind in Kind:
        if found := by_kind.get(kind):
            yield f"{len(found)} x {kind} ({CONSEQUENCES[kind]}): {name_few(found)}"


def name_few(problems: list[Problem]) -> str:
    """Name the first few files, with what was found in each."""
    names = [f"{p.file}: {p.detail}" if p.detail else p.file for p in problems[:SHOWN]]
    more = len(problems) - len(names)
    return "; ".join(names) + (f"; and {more} more" if more else "")

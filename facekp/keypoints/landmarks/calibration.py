"""What landmark detectors do differently from the plain geometry of a mask.

They differ in habit, not by chance alone: hand-made masks often leave out an eye's inner corner (the caruncle), and
detectors place the corners of the mouth a little lower and let eyes differ less in width. So each landmark is moved in
the face's frame by

    a + b w + c t

in u and likewise in v, where w is by how much its part is wider than usual, and t how far the nose stands beside the
face's middle, which tells the turn of the head. A landmark and its mirror image share their six numbers; on the middle
line those that would break the symmetry are 0. `python -m benchmarks.calibrate` fits them to a detector's points.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np

from facekp.keypoints.landmarks.frame import Array
from facekp.keypoints.landmarks.names import NUMBERS

FILE: Final = "calibration.json"
LIMIT: Final = 0.5
"""Greatest |w| (of the usual width) and |t| (frame units): what lies outside is no habit any more."""
MIRROR: Final = np.array([[-1, -1, 1], [1, 1, -1]])
"""Signs of a, b, c of u, and of v, for the mirror image."""


@dataclass(frozen=True)
class Calibration:
    """Six numbers for each landmark.

    Attributes:
        widths: usual width of each part that is calibrated, frame units.
        moves: (2, 3) a, b, c of u and of v, frame units, of each landmark of those parts; see `mirrored`.
    """

    widths: Mapping[str, float]
    moves: Mapping[str, Array]

    def move(self, part: str, names: Sequence[str], width: float, turn: float) -> Array:
        """Return by how much (k, 2) the landmarks `names` of a part are moved, frame units."""
        if part not in self.widths:
            return np.zeros((len(names), 2))
        moved: Array = np.array([self.moves[name] for name in names]) @ features(width / self.widths[part], turn)
        return moved


def mirrored(moves: Mapping[str, Array]) -> dict[str, Array]:
    """Return the numbers of all landmarks, given those on the right and on the middle line by their `kind`."""
    signs = {name: MIRROR if name.startswith("l_") else np.ones_like(MIRROR) for name in NUMBERS}
    return {name: moves[kind(name)] * sign for name, sign in signs.items() if kind(name) in moves}


def kind(name: str) -> str:
    """Return what a landmark and its mirror image have in common.

    Example:
        >>> kind("r_eye_outer"), kind("l_eye_outer"), kind("nose_tip")
        ('eye_outer', 'eye_outer', 'nose_tip')
    """
    return name[2:] if name[:2] in ("r_", "l_") else name


def features(width: float, turn: float) -> Array:
    """Return 1, w and t, (3,), of a part `width` times as wide as usual on a head turned by `turn`, frame units."""
    return np.array([1.0, min(max(width - 1, -LIMIT), LIMIT), min(max(turn, -LIMIT), LIMIT)])


@cache
def load_calibration() -> Calibration:
    """Return the calibration that comes with the package; docs/reference/landmarks.md says what it was fitted to."""
    content = json.loads((files("facekp.keypoints.landmarks") / FILE).read_text(encoding="utf-8"))
    return Calibration(content["widths"], mirrored({name: np.array(own) for name, own in content["moves"].items()}))

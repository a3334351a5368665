"""Calibration of landmarks: systematic differences between landmark detectors and the geometry of masks.

For instance, hand-made masks often leave out an eye's inner corner (the caruncle). So each landmark is moved along the
face's axes by a + b w + c t in u and likewise in v, where w is the relative excess width of its part, and t the
distance of the nose from the face's middle, a measure of the head's turn. A landmark and its mirror image share their
six numbers; on the midline, those that would break the symmetry are 0. `python -m benchmarks.landmarks fit=true`
fits them to a detector's points.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np

from facekp.keypoints.landmarks.axes import Array
from facekp.keypoints.landmarks.names import NUMBERS

FILE: Final = "calibration.json"
LIMIT: Final = 0.5
"""Clamp for |w| (of the usual width) and |t| (face units); values beyond are outliers."""
MIRROR: Final = np.array([[-1, -1, 1], [1, 1, -1]])
"""Signs of a, b, c in u and in v for the mirror image."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Six coefficients for each landmark.

    Attributes:
        widths: usual width of each calibrated part, face units.
        moves: (2, 3) a, b, c in u and in v, face units, for each landmark of those parts; see `mirrored`.
    """

    widths: Mapping[str, float]
    moves: Mapping[str, Array]

    def move(self, part: str, names: Sequence[str], width: float, turn: float) -> Array:
        """Return the displacements (k, 2), face units, of the landmarks `names` of a part."""
        if part not in self.widths:
            return np.zeros((len(names), 2))
        return np.array([self.moves[name] for name in names]) @ features(width / self.widths[part], turn)


def mirrored(moves: Mapping[str, Array]) -> dict[str, Array]:
    """Expand the coefficients of the right side and the midline, by `kind`, to all landmarks."""
    signs = {name: MIRROR if name.startswith("l_") else np.ones_like(MIRROR) for name in NUMBERS}
    return {name: moves[kind(name)] * sign for name, sign in signs.items() if kind(name) in moves}


def kind(name: str) -> str:
    """Return the part of a landmark's name that its mirror image shares.

    Example:
        >>> kind("r_eye_outer"), kind("l_eye_outer"), kind("nose_tip")
        ('eye_outer', 'eye_outer', 'nose_tip')
    """
    return name[2:] if name[:2] in ("r_", "l_") else name


def features(width: float, turn: float) -> Array:
    """Return (1, w, t) of a part `width` times as wide as usual on a head turned by `turn`, face units."""
    return np.array([1.0, min(max(width - 1, -LIMIT), LIMIT), min(max(turn, -LIMIT), LIMIT)])


@cache
def load_calibration() -> Calibration:
    """Return the calibration that facekp ships; docs/reference/landmarks.md describes its fit."""
    content = json.loads((files("facekp.keypoints.landmarks") / FILE).read_text(encoding="utf-8"))
    return Calibration(content["widths"], mirrored({name: np.array(own) for name, own in content["moves"].items()}))

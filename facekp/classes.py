"""The 19 classes of CelebAMask-HQ: ids, names, colours and left/right pairs.

`l_` is the *subject's* left, so it lies on the right of the image.

Reference: Lee et al. 2020, MaskGAN, arXiv:1907.11922; the ids are those of its official code.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

ATTRIBUTES: Final[tuple[str, ...]] = (
    "background",
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
)
"""Class names; a name's place is its id."""

NUM_CLASSES: Final = len(ATTRIBUTES)
IGNORE_INDEX: Final = 255
"""Label of pixels that no loss and no metric counts."""

MIRROR_PAIRS: Final[tuple[tuple[int, int], ...]] = ((4, 5), (6, 7), (8, 9))
"""Ids that trade places when an image is flipped: eyes, brows and ears."""

PALETTE: Final[tuple[tuple[int, int, int], ...]] = (
    (0, 0, 0),
    (244, 190, 160),
    (230, 80, 60),
    (70, 200, 255),
    (0, 130, 255),
    (90, 60, 230),
    (255, 200, 0),
    (190, 140, 0),
    (255, 120, 190),
    (190, 60, 140),
    (120, 0, 30),
    (220, 0, 70),
    (255, 70, 120),
    (230, 120, 20),
    (0, 160, 120),
    (255, 255, 0),
    (180, 255, 60),
    (150, 180, 160),
    (60, 90, 150),
)
"""RGB colour of each class in masks, overlays and dashboards."""


def mirror_table() -> npt.NDArray[np.uint8]:
    """Return the lookup table that renames a label map's ids after a horizontal flip.

    Returns:
        (256,) uint8; `table[4] == 5`, `table[5] == 4`, ..., and every other value maps to itself.
    """
    table = np.arange(256, dtype=np.uint8)
    for left, right in MIRROR_PAIRS:
        table[left], table[right] = right, left
    return table
